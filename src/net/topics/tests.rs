//! Real gossip over loopback, with clocks of its own.

use std::{collections::BTreeSet, num::NonZeroU64, time::Duration};

use futures::StreamExt;
use libp2p::{Multiaddr, Swarm, SwarmBuilder, noise, swarm::SwarmEvent, tcp, yamux};

use super::*;
use crate::{
    net::{mesh, meter::Meter},
    token::Mint,
};

const WINDOW: u64 = 1000;

/// Longer than anything healthy takes; a test that gets here has failed.
const PATIENCE: Duration = Duration::from_secs(20);

/// Nodes in a line, each connected to the next, with all that gossip needs and nothing else.
struct Line {
    token: Token,
    nodes: Vec<Node>,
}

struct Node {
    swarm: Swarm<Gossipsub>,
    topics: Topics,
    ahead_s: u64,
    heard: BTreeSet<Vec<u8>>,
    closed: usize,
}

impl Line {
    /// One node for each clock, so far ahead.
    async fn new(clocks: &[u64]) -> Self {
        let mint = Mint { crypto_interval_s: NonZeroU64::new(WINDOW).unwrap(), ..Mint::default() };
        let mut line = Self { token: Token::mint(&mint).unwrap(), nodes: Vec::new() };
        for ahead_s in clocks {
            let mut node = Node::new(*ahead_s);
            let address = node.listen().await;
            if let Some(last) = line.nodes.last_mut() {
                last.swarm.dial(address).unwrap();
            }
            line.nodes.push(node);
        }
        line
    }

    fn turn(&mut self, unix_s: u64) {
        for node in &mut self.nodes {
            node.topics.turn(node.swarm.behaviour_mut(), &self.token, unix_s + node.ahead_s);
        }
    }

    fn publish(&mut self, from: usize, payload: &[u8]) {
        let node = &mut self.nodes[from];
        let topic = node.topics.current().unwrap();
        node.swarm.behaviour_mut().publish(topic, payload).expect("a mesh in place");
        node.heard.insert(payload.to_vec());
    }

    /// Lets everything happen until it holds.
    async fn until(&mut self, what: &str, holds: impl Fn(&[Node]) -> bool) {
        let run = async {
            while !holds(&self.nodes) {
                let next = self.nodes.iter_mut().map(|node| Box::pin(node.next()));
                futures::future::select_all(next).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, run).await.is_ok(), "{what}");
    }
}

impl Node {
    fn new(ahead_s: u64) -> Self {
        let topics = Topics::default();
        let swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| mesh::behaviour(topics.allowed(), Meter::default()).unwrap())
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(3600)))
            .build();
        Self { swarm, topics, ahead_s, heard: BTreeSet::new(), closed: 0 }
    }

    async fn listen(&mut self) -> Multiaddr {
        self.swarm.listen_on("/ip4/127.0.0.1/tcp/0".parse().unwrap()).unwrap();
        loop {
            if let SwarmEvent::NewListenAddr { address, .. } = self.swarm.select_next_some().await {
                return address;
            }
        }
    }

    /// Takes every message for valid.
    async fn next(&mut self) {
        match self.swarm.select_next_some().await {
            SwarmEvent::Behaviour(gossipsub::Event::Message { propagation_source, message_id, message }) => {
                self.heard.insert(message.data);
                let gossip = self.swarm.behaviour_mut();
                let accept = gossipsub::MessageAcceptance::Accept;
                gossip.report_message_validation_result(&message_id, &propagation_source, accept);
            }
            SwarmEvent::ConnectionClosed { .. } => self.closed += 1,
            _ => {}
        }
    }

    /// Peers in its meshes of all windows.
    fn meshed(&self) -> usize {
        self.topics.subscribed.iter().map(|text| self.swarm.behaviour().mesh_peers(&topic(text).hash()).count()).sum()
    }
}

/// Peers whose clock was behind were not heard any more after eight windows: the ends of their subscriptions were filtered
/// out, so they had too many.
#[tokio::test]
async fn no_message_is_lost_over_many_windows_with_clocks_half_a_window_apart() {
    let mut line = Line::new(&[0, WINDOW / 2, 0]).await;
    let start = 2_000_000_000;
    line.turn(start);
    line.until("every mesh", |nodes| nodes.iter().map(Node::meshed).sum::<usize>() >= 3 * 4 - 2).await;
    for step in 0..60_u64 {
        line.turn(start + step * WINDOW / 4);
        let from = step as usize % 3;
        let payload = format!("message {step}").into_bytes();
        line.publish(from, &payload);
        line.until(&format!("message {step}"), |nodes| nodes.iter().all(|node| node.heard.contains(&payload))).await;
    }
    assert!(line.nodes.iter().all(|node| node.closed == 0), "no connection was lost");
}
