//! Finding members: by the addresses that somebody names, by mDNS, and in the DHT.

use std::time::{Duration, Instant};

use libp2p::{
    Multiaddr, PeerId, identify, kad,
    swarm::{
        ConnectionId,
        dial_opts::{DialOpts, PeerCondition},
    },
};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::Actor;
use crate::{
    ledger::NodeId,
    net::{
        Config, Dht, Error,
        admission::Standing,
        complaint,
        dialer::{Source, Target},
        legacy::Company,
        listen, mdns, node_of,
        rendezvous::{self, Step},
    },
    token::Token,
};

/// A bootstrap peer that stays away is mentioned this often.
const REMIND: Duration = Duration::from_secs(600);

/// A public DHT that has not answered by then is out of reach.
const DHT_SILENCE: Duration = Duration::from_secs(20);

impl Actor {
    pub(super) fn found(&mut self, now: Duration, peer: PeerId, mut addresses: Vec<Multiaddr>, source: Source) {
        if self.config.lan {
            addresses.retain(listen::is_lan);
        }
        if !addresses.is_empty() {
            self.admission.expect(peer);
            self.dialer.found(now, peer, addresses, source);
        }
    }

    pub(super) fn dial(&mut self, target: Target, addresses: Vec<Multiaddr>) {
        let options = match &target {
            Target::Peer(peer) => {
                DialOpts::peer_id(*peer).condition(PeerCondition::Disconnected).addresses(addresses).build()
            }
            Target::Address(address) => DialOpts::unknown_peer_id().address(address.clone()).build(),
        };
        let id = options.connection_id();
        match self.swarm.dial(options) {
            Ok(()) => {
                self.dials.insert(id, target);
            }
            Err(error) => self.dial_failed(&target, &complaint::of(&error)),
        }
    }

    pub(super) fn dial_failed(&mut self, target: &Target, why: &str) {
        let now = self.now();
        let Some(wait) = self.dialer.failed(now, target) else { return };
        let named = self.named(target);
        named.iter().for_each(|address| self.evidence.bootstrap(address, Some(why)));
        if let Target::Peer(peer) = target {
            self.evidence.missed(now, *peer, why);
        }
        let Some(address) = named else {
            tracing::debug!(peer = ?target, error = why, "peer not reached");
            return;
        };
        let told = self.complaints.get(target);
        if told.is_none_or(|(before, at)| before != why || at.elapsed() > REMIND) {
            let retry_in = format!("{:.1}s", wait.as_secs_f64());
            tracing::warn!(peer = %address, error = why, retry_in, "bootstrap peer not reached");
            self.complaints.insert(target.clone(), (why.to_owned(), Instant::now()));
        }
    }

    /// Goes where the members meet, if it is time.
    pub(super) fn meet(&mut self, now: Duration, unix_s: u64) {
        let accompanied = !self.connections.is_empty();
        let Some(rendezvous) = &mut self.rendezvous else { return };
        let places = self.token.rendezvous(unix_s);
        for step in rendezvous.steps(now, &places.current, &places.previous, accompanied) {
            let Some(kademlia) = self.swarm.behaviour_mut().kademlia.as_mut() else { return };
            match step {
                Step::Meet(key) => {
                    if let Err(error) = kademlia.start_providing(key.clone()) {
                        tracing::debug!(%error, "rendezvous not advertised");
                    }
                    kademlia.get_providers(key);
                }
                Step::Withdraw(key) => kademlia.stop_providing(&key),
            }
        }
    }

    pub(super) fn on_kademlia(&mut self, event: kad::Event) {
        self.evidence.queried(self.swarm.local_peer_id(), &event);
        match event {
            kad::Event::OutboundQueryProgressed {
                result: kad::QueryResult::GetProviders(Ok(kad::GetProvidersOk::FoundProviders { providers, .. })),
                ..
            } => self.on_providers(providers),
            kad::Event::InboundRequest { request: kad::InboundRequest::AddProvider { record: Some(record) } } => {
                // Nodes of edgevpn's meet here as well. They prove nothing, and there is room for a few dozen keys.
                let is_member = matches!(self.admission.standing(&record.provider), Standing::Member { .. });
                let is_ours = || rendezvous::is_key_of(&record.key, &self.token.rendezvous(self.unix_s()));
                if self.admission.takes_legacy() && !is_member && !is_ours() {
                    return;
                }
                if let Some(kademlia) = self.swarm.behaviour_mut().kademlia.as_mut() {
                    self.providers.tell(Instant::now(), kademlia.store_mut(), record);
                }
            }
            _ => {}
        }
    }

    fn on_providers(&mut self, providers: impl IntoIterator<Item = PeerId>) {
        let now = self.now();
        for peer in providers {
            let is_known = peer == *self.swarm.local_peer_id() || self.swarm.is_connected(&peer);
            if is_known || !self.dialer.is_worth_meeting(now, &peer) {
                continue;
            }
            self.admission.expect(peer);
            // Their addresses are known to the running lookup alone, so the dial goes out while it runs.
            let options = DialOpts::peer_id(peer).condition(PeerCondition::DisconnectedAndNotDialing).build();
            if let Err(error) = self.swarm.dial(options) {
                tracing::debug!(%peer, error = complaint::of(&error), "provider not dialled");
            }
        }
    }

    pub(super) fn on_identified(
        &mut self,
        peer: PeerId,
        connection: ConnectionId,
        at_first: bool,
        info: identify::Info,
    ) {
        let standing = self.admission.standing(&peer);
        // Whoever came in and has proved nothing may tell anything of where it sees this node; who was dialled was chosen.
        let was_dialled = |legacy: &Company| legacy.was_dialled(peer, connection);
        let is_believed = standing != Standing::Legacy || self.legacy.as_ref().is_some_and(was_dialled);
        let at_first = at_first && is_believed;
        if standing == Standing::Legacy
            && let Some(legacy) = &mut self.legacy
            && !legacy.identified(peer, connection, &info.protocols)
        {
            tracing::debug!(%peer, agent = info.agent_version, "neither a member nor a node of edgevpn's");
            self.swarm.close_connection(connection);
            return;
        }
        let guests = self.admission.guests();
        let is_granted =
            |node: &NodeId| guests.is_none_or(|guests| guests.granted(node).is_some_and(|grant| grant.may_relay()));
        let may_relay =
            matches!(standing, Standing::Member { .. }) && node_of(&peer).is_some_and(|node| is_granted(&node));
        let way = node_of(&peer).and_then(|node| self.connections.way(node, connection));
        if at_first {
            self.on_seen(peer, connection, &info.observed_addr);
        }
        self.ways.identified(self.now(), peer, may_relay, way, at_first, &info);
        if let Some(kademlia) = self.swarm.behaviour_mut().kademlia.as_mut()
            && info.protocols.iter().any(|protocol| kademlia.protocol_names().contains(protocol))
        {
            self.evidence.dht_answers();
            for address in info.listen_addrs {
                kademlia.add_address(&peer, address);
            }
            let now = self.now();
            let is_first = self.dht_silent_since.take().is_some();
            if let Some(rendezvous) = &mut self.rendezvous
                && (is_first || self.connections.is_empty())
            {
                rendezvous.hurry(now);
            }
        }
    }

    /// Once, and only to somebody whom nothing else connects either.
    pub(super) fn tell_of_silent_dht(&mut self) {
        let long = self.dht_silent_since.is_some_and(|since| since.elapsed() > DHT_SILENCE);
        if long && self.config.dht == Dht::Public && self.connections.is_empty() {
            self.dht_silent_since = None;
            tracing::warn!(
                "no server of the public DHT answers; without internet use --no-dht, and --peer where mDNS does not reach"
            );
        }
    }
}

pub(super) async fn next_found(mdns: &mut Option<mdns::Running>) -> Option<mdns::Discovered> {
    match mdns {
        Some(mdns) => mdns.found.recv().await,
        None => std::future::pending().await,
    }
}

pub(super) fn spawn_mdns(
    config: &Config,
    token: &Token,
    local: PeerId,
    addresses: watch::Receiver<Vec<Multiaddr>>,
    cancel: &CancellationToken,
) -> Result<mdns::Running, Error> {
    let interfaces = match listen::is_confined(config) {
        true => mdns::Interfaces::Loopback,
        false => mdns::Interfaces::All,
    };
    let config = mdns::Config { service: token.mdns_name().to_owned(), interfaces, port: config.mdns_port };
    Ok(mdns::spawn(config, local, addresses, cancel.clone())?)
}
