//! A plain libp2p node without a token, as anybody can write one.

use std::time::{Duration, Instant};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, SwarmBuilder, identify,
    multiaddr::Protocol,
    noise, relay,
    swarm::{NetworkBehaviour, SwarmEvent},
    tcp, yamux,
};
use p2p_fed_netns::inside;
use tokio::{runtime, sync::oneshot, time::timeout};

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

/// Connects and asks for a reservation, until there is one or the connection is closed.
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
                return met;
            }
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

/// A relay for everybody, as libp2p brings it: at `address`, until `stop`. Says who it is.
async fn open_relay(address: Multiaddr, ready: oneshot::Sender<PeerId>, mut stop: oneshot::Receiver<()>) {
    let swarm = SwarmBuilder::with_new_identity().with_tokio();
    let swarm = swarm.with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default).unwrap();
    let swarm = swarm.with_behaviour(|key| relay::Behaviour::new(key.public().to_peer_id(), relay::Config::default()));
    let mut swarm = swarm.unwrap().build();
    swarm.listen_on(address.clone()).unwrap();
    swarm.add_external_address(address);
    let mut ready = Some(ready);
    loop {
        tokio::select! {
            event = swarm.select_next_some() => if let SwarmEvent::NewListenAddr { .. } = event
                && let Some(ready) = ready.take()
            {
                ready.send(*swarm.local_peer_id()).unwrap();
            },
            _ = &mut stop => return,
        }
    }
}

/// Runs it on a host, in a thread and with a runtime of its own: its sockets are made as it goes.
async fn on_host<T: Send + 'static>(host: &Host, act: impl Future<Output = T> + Send + 'static) -> T {
    let space = host.space.clone();
    let thread = tokio::task::spawn_blocking(move || {
        inside(&space, || runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(act))
    });
    thread.await.unwrap().unwrap()
}

/// What a stranger on that host meets.
async fn met(host: &Host, relay: Multiaddr) -> Met {
    on_host(host, async { timeout(PATIENCE, ask(relay)).await.expect("an answer, or an end") }).await
}

#[tokio::test]
#[ignore = "needs root: make netns"]
async fn f_10_one_without_a_token_gets_no_reservation_and_is_closed() {
    let (mut lab, network) = (Lab::new(), Network::new().await);
    let relay = node(&mut lab, &network, "relay").await;
    let (site, open) = (lab.site("site", Nat::Cone), lab.public("open"));

    // It knows how to ask.
    let address: Multiaddr = format!("{}/tcp/4001", open.multiaddr()).parse().unwrap();
    let ((ready, is_ready), (stop, stopped)) = (oneshot::channel(), oneshot::channel());
    let client = async {
        let peer = is_ready.await.unwrap();
        let seen = met(&site, address.clone().with(Protocol::P2p(peer))).await;
        stop.send(()).unwrap();
        seen
    };
    let (seen, ()) = tokio::join!(client, on_host(&open, open_relay(address.clone(), ready, stopped)));
    assert!(seen.connected && seen.reserved && !seen.closed, "{seen:?}");

    for transport in ["tcp", "udp"] {
        let began = Instant::now();
        let seen = met(&site, relay.address(transport).parse().unwrap()).await;
        measured(&format!("a stranger by {transport} closed"), began.elapsed());
        assert!(seen.connected && seen.closed && !seen.reserved, "{seen:?}");
        assert!(seen.told.is_none(), "it learns nothing: {seen:?}");
    }
    assert!(relay.status().await.unwrap().peers.is_empty());
    let log = relay.log();
    let refused =
        log.lines().filter(|line| line.contains("inbound connection refused") && line.contains(&site.address));
    assert_eq!(refused.count(), 2, "{log}");
}
