//! Ports of the home router, opened by asking it: UPnP-IGD, NAT-PMP (RFC 6886) or PCP (RFC 6887), whichever it speaks.
//!
//! A node with a private address asks for one port for each of TCP and QUIC, renews both for as long as it runs, and gives them
//! back when it stops. What the router says is told to others at once; whether it is true, members find out
//! ([`super::reachability`]). A network without such a router costs three small packets now and then.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    num::NonZeroU16,
    sync::Arc,
    time::Duration,
};

use futures::future::join_all;
use libp2p::{Multiaddr, multiaddr::Protocol};
use portmapper::{Client, Config, Protocol as Carrier};
use tokio::{
    sync::watch,
    time::{Instant, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Transport, facts, listen};

/// A router that did not answer is asked again after this: it may have been restarted, or the machine carried elsewhere.
const AGAIN: Duration = Duration::from_secs(600);

/// A router that has not answered by then is none that can be asked.
const ANSWER: Duration = Duration::from_secs(15);

/// Giving the ports back may take this long when the node stops.
const RELEASE: Duration = Duration::from_secs(1);

/// What the router gave.
pub(super) type Mapped = Arc<Vec<Multiaddr>>;

/// What is known of it.
#[derive(Debug)]
pub(super) struct Mapping {
    mapped: watch::Receiver<Mapped>,
    since: Instant,
}

impl Mapping {
    /// With the task that asks. `own` are the addresses where this node listens now.
    pub(super) fn new(
        own: watch::Receiver<Vec<Multiaddr>>,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (tell, mapped) = watch::channel(Mapped::default());
        (Self { mapped, since: Instant::now() }, ask(own, tell, cancel))
    }

    /// The next time that it gave something else.
    pub(super) async fn changed(&mut self) -> Mapped {
        match self.mapped.changed().await {
            Ok(()) => self.mapped.borrow_and_update().clone(),
            // The task ends when the node stops.
            Err(_) => std::future::pending().await,
        }
    }

    pub(super) fn facts(&self) -> facts::Mapping {
        let opened: Vec<String> = self.mapped.borrow().iter().map(ToString::to_string).collect();
        let is_late = opened.is_empty() && self.since.elapsed() > ANSWER;
        let fault =
            is_late.then(|| "no router answers to UPnP, NAT-PMP or PCP with an address of the internet".to_owned());
        facts::Mapping { opened, fault }
    }
}

async fn ask(mut own: watch::Receiver<Vec<Multiaddr>>, tell: watch::Sender<Mapped>, cancel: CancellationToken) {
    let ports = [Port::new(Transport::Tcp), Port::new(Transport::Quic)];
    let [mut tcp, mut quic] = ports.each_ref().map(|port| port.client.watch_external_address());
    let mut again = interval_at(Instant::now() + AGAIN, AGAIN);
    again.set_missed_tick_behavior(MissedTickBehavior::Delay);
    own.mark_changed();
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Ok(()) = own.changed() => {
                let own = own.borrow_and_update().clone();
                ports.iter().for_each(|port| port.ask(&own));
            }
            _ = again.tick() => ports.iter().for_each(|port| port.client.procure_mapping()),
            Ok(()) = tcp.changed() => {}
            Ok(()) = quic.changed() => {}
            else => break,
        }
        let outside = [*tcp.borrow_and_update(), *quic.borrow_and_update()];
        let mapped: Vec<_> = ports.iter().zip(outside).filter_map(|(port, outside)| port.address(outside?)).collect();
        tell.send_if_modified(|told| {
            let is_new = **told != mapped;
            if is_new {
                tracing::info!(addresses = ?mapped, "the router opened ports for this node");
                *told = Arc::new(mapped);
            }
            is_new
        });
    }
    let given = ports.iter().zip([tcp, quic]).filter(|(_, outside)| outside.borrow().is_some());
    let released = given.map(|(port, _)| {
        port.client.deactivate();
        // Nothing tells when the router has the port back. What is asked next is answered after that.
        port.client.probe()
    });
    if timeout(RELEASE, join_all(released)).await.is_err() {
        tracing::debug!("the router did not take its ports back in time; they end by themselves");
    }
}

/// One port for one transport.
#[derive(Debug)]
struct Port {
    transport: Transport,
    client: Client,
}

impl Port {
    fn new(transport: Transport) -> Self {
        let protocol = if transport == Transport::Quic { Carrier::Udp } else { Carrier::Tcp };
        Self { transport, client: Client::new(Config { protocol, ..Config::default() }) }
    }

    /// Asks for the port where this node listens, or gives back what it has.
    fn ask(&self, own: &[Multiaddr]) {
        match inside(own, self.transport) {
            Some(port) => {
                self.client.update_local_port(port);
                // The port may be the same, and the router another one.
                self.client.procure_mapping();
            }
            None => self.client.deactivate(),
        }
    }

    /// What the router gave, unless it is behind a router itself.
    fn address(&self, outside: SocketAddrV4) -> Option<Multiaddr> {
        let host = Multiaddr::empty().with(Protocol::Ip4(*outside.ip()));
        let address = match self.transport {
            Transport::Quic => host.with(Protocol::Udp(outside.port())).with(Protocol::QuicV1),
            _ => host.with(Protocol::Tcp(outside.port())),
        };
        listen::is_public(&address).then_some(address)
    }
}

/// The port of a listener behind a NAT: at a private address of IPv4.
fn inside(own: &[Multiaddr], transport: Transport) -> Option<NonZeroU16> {
    let is_inside = |address: &&Multiaddr| {
        let ip = listen::ip_of(address).filter(|ip| ip.is_ipv4() && *ip != Ipv4Addr::LOCALHOST);
        ip.is_some() && listen::is_lan(address) && !listen::is_relayed(address) && Transport::of(address) == transport
    };
    own.iter().find(is_inside)?.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => NonZeroU16::new(port),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_asked_for_where_a_listener_is_behind_a_nat() {
        let port = |texts: &[&str], transport| {
            let own: Vec<Multiaddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
            inside(&own, transport).map(NonZeroU16::get)
        };
        let own =
            ["/ip6/fd00::1/tcp/1", "/ip4/127.0.0.1/tcp/2", "/ip4/192.168.0.2/tcp/3", "/ip4/192.168.0.2/udp/4/quic-v1"];
        assert_eq!(port(&own, Transport::Tcp), Some(3));
        assert_eq!(port(&own, Transport::Quic), Some(4));
        assert_eq!(port(&["/ip4/203.0.113.1/tcp/3", "/ip4/192.168.0.2/tcp/5/ws"], Transport::Tcp), None);
    }

    #[tokio::test]
    async fn a_router_that_is_behind_another_one_is_of_no_use() {
        let port = Port::new(Transport::Quic);
        let address = |text: &str| port.address(text.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(address("203.0.113.1:7").as_deref(), Some("/ip4/203.0.113.1/udp/7/quic-v1"));
        assert_eq!(address("192.168.0.1:7"), None);
        assert_eq!(address("100.64.0.1:7"), None);
    }
}
