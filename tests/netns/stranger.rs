//! A plain libp2p node without a token, as anybody can write one.

use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::{
    Multiaddr, SwarmBuilder, identify,
    multiaddr::Protocol,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use p2p_fed_netns::inside;
use tokio::{runtime, time::timeout};

use crate::{
    lab::{Host, Lab},
    measured,
    node::Network,
    relays::relay as node,
    router::Nat,
};

/// Until a relay has closed a connection on which nobody was admitted: its limit is 5 s.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(NetworkBehaviour)]
struct Behaviour {
    relay: relay::client::Behaviour,
    identify: identify::Behaviour,
}

/// What a stranger met.
#[derive(Debug, Default)]
struct Met {
    /// A connection was made, as far as the stranger can tell: encrypted and multiplexed.
    connected: bool,
    /// What the relay said about itself.
    told: Option<identify::Info>,
    reserved: bool,
    closed: bool,
}

/// Connects and asks for a reservation, until the connection is closed.
async fn ask(relay: Multiaddr) -> Met {
    let swarm = SwarmBuilder::with_new_identity().with_tokio();
    let swarm = swarm.with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default).unwrap();
    let swarm = swarm.with_quic().with_relay_client(noise::Config::new, yamux::Config::default).unwrap();
    let swarm = swarm.with_behaviour(|key, relay| Behaviour {
        relay,
        identify: identify::Behaviour::new(identify::Config::new("/stranger/1".to_owned(), key.public())),
    });
    let mut swarm = swarm.unwrap().build();
    swarm.dial(relay.clone()).unwrap();
    let mut met = Met::default();
    loop {
        match swarm.select_next_some().await {
            SwarmEvent::ConnectionEstablished { .. } if !met.connected => {
                met.connected = true;
                swarm.listen_on(relay.clone().with(Protocol::P2pCircuit)).unwrap();
            }
            SwarmEvent::Behaviour(BehaviourEvent::Relay(relay::client::Event::ReservationReqAccepted { .. })) => {
                met.reserved = true;
            }
            SwarmEvent::NewListenAddr { .. } => met.reserved = true,
            SwarmEvent::Behaviour(BehaviourEvent::Identify(identify::Event::Received { info, .. })) => {
                met.told = Some(info);
            }
            SwarmEvent::ConnectionClosed { .. } | SwarmEvent::OutgoingConnectionError { .. } => {
                met.closed = true;
                return met;
            }
            _ => {}
        }
    }
}

/// Runs it on a host, with a runtime of its own: its sockets are made as it goes.
fn on_host(host: &Host, relay: &str) -> Option<Met> {
    let relay: Multiaddr = relay.parse().unwrap();
    inside(&host.space, || {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async { timeout(PATIENCE, ask(relay)).await.ok() })
    })
    .unwrap()
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn f_10_one_without_a_token_gets_no_reservation_and_is_closed() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let relay = node(&mut lab, &network, "relay").await;
    let site = lab.site("site", Nat::Cone);
    for transport in ["tcp", "udp"] {
        let began = Instant::now();
        let met = on_host(&site, relay.address(transport)).expect("it is closed");
        measured(&format!("a stranger by {transport} closed"), began.elapsed());
        assert!(met.connected && met.closed && !met.reserved, "{met:?}");
        assert!(met.told.is_none(), "it learns nothing: {met:?}");
    }
    assert!(relay.status().await.unwrap().peers.is_empty());
    let log = relay.log();
    let refused =
        log.lines().filter(|line| line.contains("inbound connection refused") && line.contains(&site.address));
    assert_eq!(refused.count(), 2, "{log}");
}
