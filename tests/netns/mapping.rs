//! A home router that is asked for ports: miniupnpd, which speaks UPnP, NAT-PMP and PCP.

use std::time::Duration;

use crate::{
    lab::Lab,
    node::{Network, backend, body, get},
    relays::PRIVATE,
    router::Nat,
    within,
};

const S: Duration = Duration::from_secs(1);

async fn a_router_that_opens_ports_makes_relays_needless_and_gets_them_back(speaks: &str) {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let public = lab.public("meeting");
    let (home, other) = (lab.site("home", Nat::Cone), lab.site("other", Nat::Symmetric));
    let _router = lab.opening(&home, speaks);
    let alone = [&["--relaying", "never"], &PRIVATE[..]].concat();
    let meeting = network.start(&public, "meeting", &[&["serve"], &alone[..]].concat()).await;
    let peer = ["--peer", meeting.address("tcp")];
    let _backend = backend(&home).await;
    let worker = network.start(&home, "worker", &[&["expose", "8000"], &peer[..], &alone].concat()).await;
    let opened = async || {
        let mapping = worker.checkup().await?.net.mapping?;
        (mapping.opened.len() == 2).then_some(mapping.opened)
    };
    let (opened, _) = within(30 * S, "two open ports", opened).await;
    assert!(opened.iter().all(|address| address.contains(&home.address)), "{opened:?}");
    assert_eq!(lab.opened(&home), 2);

    let front = network.start(&other, "front", &[&["serve"], &peer[..], &alone].concat()).await;
    assert_eq!(within(20 * S, "an answer", async || get(&other, "/quick", 5 * S).await).await.0, body());
    assert_eq!(front.peer("worker").await.unwrap().path, "direct");
    let proved = async || {
        let probed = worker.checkup().await?.net.probed;
        probed.iter().any(|probed| probed.is_reachable && opened.contains(&probed.address)).then_some(())
    };
    within(40 * S, "a member that got through", proved).await;

    worker.stop().await;
    within(10 * S, "the ports to be closed", async || (lab.opened(&home) == 0).then_some(())).await;
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn a_router_with_upnp_opens_ports_and_gets_them_back() {
    a_router_that_opens_ports_makes_relays_needless_and_gets_them_back("upnp").await;
}

/// Only UPnP was ever asked by.
#[tokio::test]
#[ignore = "needs root: make netns"]
async fn a_router_with_nat_pmp_alone_opens_ports_and_gets_them_back() {
    a_router_that_opens_ports_makes_relays_needless_and_gets_them_back("natpmp").await;
}
