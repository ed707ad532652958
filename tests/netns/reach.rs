//! Who can be dialled: members find it out for each other.

use std::time::Duration;

use p2p_fed::net::facts::Probed;

use crate::{
    lab::{Host, Lab},
    node::{Network, Node},
    relays::PRIVATE,
    router::Nat,
    within,
};

const S: Duration = Duration::from_secs(1);

/// Public members, by which the others join and which dial them.
async fn witnesses(lab: &mut Lab, network: &Network, count: usize) -> Vec<Node> {
    let mut witnesses: Vec<Node> = Vec::new();
    for number in 1..=count {
        let name = format!("witness{number}");
        let host = lab.public(&name);
        let peer = witnesses.first().map(|first| ["--peer".to_owned(), first.address("tcp").to_owned()]);
        let peer: Vec<&str> = peer.iter().flatten().map(String::as_str).collect();
        witnesses.push(network.start(&host, &name, &[&["serve"], &peer[..], &PRIVATE].concat()).await);
    }
    witnesses
}

/// A node on that host, and what the witnesses found of its addresses, as soon as there is something.
async fn probed(network: &Network, witnesses: &[Node], host: &Host) -> (Node, Vec<Probed>) {
    let args = [&["expose", "8000", "--health", "off", "--peer", witnesses[0].address("tcp")], &PRIVATE[..]].concat();
    let node = network.start(host, "node", &args).await;
    let found = async || node.checkup().await.map(|checkup| checkup.net.probed).filter(|probed| !probed.is_empty());
    let (found, _) = within(40 * S, "members that dialled back", found).await;
    (node, found)
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn who_can_be_dialled_behind_a_nat_tells_its_address_there() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let site = lab.site("site", Nat::Open);
    let witnesses = witnesses(&mut lab, &network, 1).await;
    let (node, found) = probed(&network, &witnesses, &site).await;
    assert!(found.iter().all(|probed| probed.is_reachable && probed.address.contains(&site.address)), "{found:?}");
    let told = async || {
        let addresses = node.status().await?.node.addresses;
        addresses.iter().any(|address| address.starts_with(&found[0].address)).then_some(())
    };
    within(5 * S, "the address to be told", told).await;
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn of_who_cannot_be_dialled_three_members_say_so() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let behind_nat = lab.site("site", Nat::Cone);
    let behind_wall = lab.public("wall");
    lab.shut(&behind_wall);
    let witnesses = witnesses(&mut lab, &network, 3).await;
    let is_there = async || {
        let peers = witnesses[0].status().await?.peers;
        (peers.len() >= 2).then_some(())
    };
    within(10 * S, "the members to meet", is_there).await;
    for host in [&behind_nat, &behind_wall] {
        let (node, found) = probed(&network, &witnesses, host).await;
        assert!(found.iter().all(|probed| !probed.is_reachable), "{found:?}");
        node.kill().await;
    }
}
