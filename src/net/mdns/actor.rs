//! The task: reads the links, keeps their schedules, tells what it heard.

use std::{
    collections::BTreeSet,
    future::{pending, poll_fn},
    io,
    net::SocketAddr,
    task::{Context, Poll},
    time::Duration,
};

use libp2p::{Multiaddr, PeerId};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;

use super::{
    Config, Discovered, Error,
    address::said_on,
    heard::Heard,
    interface::{self, Interface, MAX_INTERFACES},
    message::{MAX_PACKET, Names, Packet, Question, TTL},
    schedule::{Input, Output, Schedule},
    socket::{Family, Link},
};
use crate::net::facts;

/// How often the interfaces are read anew. A node started with its machine is there before the network is, and people wait
/// for it; the reading is one question to the kernel.
const REREAD: Duration = Duration::from_secs(2);

/// A link and its timing.
struct Station {
    link: Link,
    schedule: Schedule,
    told: facts::Link,
}

/// What was thrown away, and how often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    /// Packets that are no DNS message, or longer than [`MAX_PACKET`].
    malformed: u64,
    /// Packets from off the link or from a port that no responder uses.
    foreign: u64,
    /// Peers the receiver had no room for.
    untold: u64,
    /// Packets the operating system would not send.
    unsent: u64,
}

pub(super) struct Actor {
    config: Config,
    names: Names,
    peer: PeerId,
    own: Vec<Multiaddr>,
    host: Vec<Interface>,
    stations: Vec<Station>,
    /// Links that could not be opened at the last reading: a warning once, not every half minute.
    failing: BTreeSet<(u32, Family)>,
    faults: Vec<facts::Link>,
    /// What came of each link; a reading old at most, but for answers.
    told: watch::Sender<Vec<facts::Link>>,
    /// The station that is asked first for the next packet, so that a busy link can't starve the others.
    turn: usize,
    heard: Heard,
    found: mpsc::Sender<Discovered>,
    counts: Counts,
}

impl Actor {
    /// Opens all links there are.
    ///
    /// # Errors
    /// When there is not a single one.
    pub(super) fn bind(
        config: Config,
        names: Names,
        peer: PeerId,
        own: Vec<Multiaddr>,
        found: mpsc::Sender<Discovered>,
        told: watch::Sender<Vec<facts::Link>>,
    ) -> Result<Self, Error> {
        let mut actor = Self {
            config,
            names,
            peer,
            own,
            host: Vec::new(),
            stations: Vec::new(),
            failing: BTreeSet::new(),
            faults: Vec::new(),
            told,
            turn: 0,
            heard: Heard::default(),
            found,
            counts: Counts::default(),
        };
        let host = interface::read().map_err(Error::List)?;
        match actor.reconcile(host) {
            _ if !actor.stations.is_empty() => {
                actor.report();
                Ok(actor)
            }
            Some(error) => Err(Error::Bind(error)),
            None => Err(Error::NoInterface),
        }
    }

    pub(super) async fn run(mut self, mut own: watch::Receiver<Vec<Multiaddr>>, cancel: CancellationToken) {
        let mut reread = tokio::time::interval_at(Instant::now() + REREAD, REREAD);
        reread.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut buffer = vec![0; MAX_PACKET + 1];
        let mut is_owner_alive = true;
        loop {
            self.send_due();
            let wake = self.stations.iter().map(|station| station.schedule.poll_timeout()).min();
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                changed = own.changed(), if is_owner_alive => match changed {
                    Ok(()) => {
                        let addresses = own.borrow_and_update().clone();
                        self.say(addresses);
                    }
                    Err(_) => is_owner_alive = false,
                },
                _ = reread.tick() => self.reread(),
                () = sleep_until(wake) => {}
                (index, received) = poll_fn(|cx| self.poll_receive(cx, &mut buffer)) => match received {
                    Ok((length, from)) => self.handle(index, buffer.get(..length).unwrap_or_default(), from),
                    Err(error) => self.close(index, &error),
                },
            }
        }
        self.say_goodbye();
        tracing::debug!(counts = ?self.counts, "mdns stopped");
    }

    // === What is heard ===

    fn poll_receive(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<(usize, io::Result<(usize, SocketAddr)>)> {
        let stations = self.stations.iter().enumerate();
        let turn = self.turn.checked_rem(self.stations.len()).unwrap_or(0);
        for (index, station) in stations.clone().skip(turn).chain(stations.take(turn)) {
            if let Poll::Ready(received) = station.link.poll_receive(cx, buffer) {
                return Poll::Ready((index, received));
            }
        }
        Poll::Pending
    }

    fn handle(&mut self, index: usize, packet: &[u8], from: SocketAddr) {
        self.turn = index + 1;
        let Some(station) = self.stations.get_mut(index) else { return };
        let ip = from.ip();
        if from.port() != self.config.port || !station.link.interface.is_on_link(ip) {
            self.counts.foreign += 1;
            station.told.foreign += 1;
            tracing::trace!(%from, interface = %station.link.interface.name, "foreign mdns packet");
            return;
        }
        if packet.len() > MAX_PACKET {
            self.counts.malformed += 1;
            return;
        }
        let from_here = self.host.iter().any(|interface| interface.owns(ip));
        match self.names.read(packet, from_here) {
            Ok(Packet::Question(question)) => {
                let Question { wants_unicast, is_round, knows_us } = question;
                let input = Input::Question { from, wants_unicast, is_round, knows_us };
                station.schedule.handle(now(), input, &mut rand::rng());
            }
            Ok(Packet::Answer(peers)) => {
                let is_own = peers.iter().any(|found| found.peer == self.peer);
                station.told.own += u64::from(is_own);
                station.told.answers += u64::from(!is_own);
                self.report();
                self.tell(peers);
            }
            Ok(Packet::Other) => {}
            Err(error) => {
                self.counts.malformed += 1;
                tracing::trace!(%from, %error, "malformed mdns packet");
            }
        }
    }

    fn tell(&mut self, peers: Vec<Discovered>) {
        for found in peers {
            if found.peer != self.peer && self.heard.is_news(now(), &found) {
                tracing::debug!(peer = %found.peer, addresses = ?found.addresses, "mdns found a peer");
                self.counts.untold += u64::from(self.found.try_send(found).is_err());
            }
        }
    }

    // === What is said ===

    fn send_due(&mut self) {
        let mut rng = rand::rng();
        for index in 0..self.stations.len() {
            while let Some(station) = self.stations.get_mut(index)
                && let Some(output) = station.schedule.poll_output(now(), &mut rng)
            {
                self.send(index, output);
            }
        }
    }

    fn send(&mut self, index: usize, output: Output) {
        let Some(Station { link, .. }) = self.stations.get(index) else { return };
        let packet = match output {
            Output::Query => self.names.query().ok(),
            Output::Respond | Output::RespondTo(_) => self.response(link, TTL),
        };
        let Some(packet) = packet else { return };
        let sent = match output {
            Output::Query | Output::Respond => link.send_to_all(&packet),
            Output::RespondTo(to) => link.send_to(&packet, to),
        };
        if let Err(error) = sent {
            tracing::debug!(interface = %link.interface.name, family = ?link.family, %error, "mdns packet not sent");
            self.counts.unsent += 1;
            self.stations.get_mut(index).into_iter().for_each(|station| station.told.unsent += 1);
        } else {
            self.stations.get_mut(index).into_iter().for_each(|station| station.told.sent += 1);
        }
    }

    /// Our records as said on `link`; none while there is nothing to say there.
    fn response(&self, link: &Link, ttl: u32) -> Option<Vec<u8>> {
        let said = said_on(&link.interface, &self.own, &self.host);
        if said.is_empty() {
            return None;
        }
        self.names.response(self.peer, &said, link.interface.addresses(), ttl).ok()
    }

    /// Announces other addresses. A new address often means a new interface, so those are read first.
    fn say(&mut self, own: Vec<Multiaddr>) {
        if own != self.own {
            self.own = own;
            self.reread();
            for station in &mut self.stations {
                station.schedule.handle(now(), Input::Changed, &mut rand::rng());
            }
        }
    }

    fn say_goodbye(&self) {
        for Station { link, .. } in &self.stations {
            if let Some(packet) = self.response(link, 0) {
                // The last word may be lost: what it takes back ends by itself.
                link.send_to_all(&packet).ok();
            }
        }
    }

    // === The links ===

    fn reread(&mut self) {
        tracing::trace!(counts = ?self.counts, "reading the interfaces for mdns");
        match interface::read() {
            Ok(host) => drop(self.reconcile(host)),
            Err(error) => tracing::warn!(%error, "interfaces could not be listed, keeping those known"),
        }
        self.report();
    }

    /// Closes the links of interfaces that are gone or changed and opens those that are new. Returns the last failure.
    fn reconcile(&mut self, host: Vec<Interface>) -> Option<io::Error> {
        let chosen: Vec<&Interface> =
            host.iter().filter(|interface| self.config.interfaces.chooses(interface)).take(MAX_INTERFACES).collect();
        self.stations.retain(|Station { link, .. }| chosen.contains(&&link.interface));
        let (mut failing, mut failure) = (BTreeSet::new(), None);
        self.faults.clear();
        for interface in chosen {
            for family in Family::of(interface) {
                let is_this = |Station { link, .. }: &Station| link.interface == *interface && link.family == family;
                if self.stations.iter().any(is_this) {
                    continue;
                }
                match Link::bind(interface, family, self.config.port) {
                    Ok(link) => {
                        tracing::debug!(interface = %interface.name, ?family, "mdns link opened");
                        let told = told_of(interface, family);
                        self.stations.push(Station { link, schedule: Schedule::new(now()), told });
                    }
                    Err(error) => {
                        if !self.failing.contains(&(interface.index, family)) {
                            tracing::warn!(interface = %interface.name, ?family, %error, "mdns link not opened");
                        }
                        failing.insert((interface.index, family));
                        let fault = Some(error.to_string());
                        self.faults.push(facts::Link { fault, ..told_of(interface, family) });
                        failure = Some(error);
                    }
                }
            }
        }
        self.failing = failing;
        self.host = host;
        failure
    }

    fn report(&self) {
        let stations = self.stations.iter().map(|station| &station.told);
        self.told.send_replace(stations.chain(&self.faults).cloned().collect());
    }

    /// Gives up a socket that fails; the next reading opens a new one if its interface is still there.
    fn close(&mut self, index: usize, error: &io::Error) {
        if index < self.stations.len() {
            let Station { link, .. } = self.stations.swap_remove(index);
            tracing::warn!(interface = %link.interface.name, family = ?link.family, %error, "mdns link failed, reopening");
        }
    }
}

fn told_of(interface: &Interface, family: Family) -> facts::Link {
    let family = match family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    facts::Link { interface: interface.name.clone(), family: family.to_owned(), ..facts::Link::default() }
}

fn now() -> std::time::Instant {
    Instant::now().into_std()
}

async fn sleep_until(wake: Option<std::time::Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => pending().await,
    }
}
