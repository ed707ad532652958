//! Ports of the home router, opened by asking it: UPnP-IGD, NAT-PMP (RFC 6886) or PCP (RFC 6887), whichever it speaks.
//!
//! A node with a private address asks for one port for each of TCP and QUIC, renews both for as long as it runs, and gives them
//! back when it stops. What the router says is told to others at once; whether it is true, members find out
//! ([`super::reachability`]). A network without such a router costs a few small packets each ten
//! minutes. In the router's list the ports go by the library's name, `iroh-portmap`.

use std::{
    net::{IpAddr, SocketAddrV4},
    num::NonZeroU16,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures::future::{join_all, select_all};
use libp2p::{Multiaddr, multiaddr::Protocol};
use portmapper::{Client, Config, ProbeOutput, Protocol as Carrier};
use tokio::{
    sync::watch,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Transport, facts, listen};

/// A router that did not answer, or gave nothing, is asked again after this: it may have been restarted.
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
    /// With the task that asks. `bound` are the addresses where this node listens now.
    pub(super) fn new(
        bound: watch::Receiver<Vec<Multiaddr>>,
        cancel: CancellationToken,
    ) -> (Self, impl Future<Output = ()> + Send + use<>) {
        let (tell, mapped) = watch::channel(Mapped::default());
        (Self { mapped, since: Instant::now() }, ask(bound, tell, cancel))
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

/// Where this node listens behind a NAT: at private addresses of IPv4.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Inside {
    tcp: Option<SocketAddrV4>,
    quic: Option<SocketAddrV4>,
}

impl Inside {
    fn of(bound: &[Multiaddr]) -> Self {
        let by = |transport| bound.iter().find_map(|address| inside(address, transport));
        Self { tcp: by(Transport::Tcp), quic: by(Transport::Quic) }
    }
}

/// The socket at `address`, if it is one of `transport` behind a NAT.
fn inside(address: &Multiaddr, transport: Transport) -> Option<SocketAddrV4> {
    let Some(IpAddr::V4(ip)) = listen::ip_of(address) else { return None };
    if !listen::is_lan(address)
        || ip.is_loopback()
        || listen::is_relayed(address)
        || Transport::of(address) != transport
    {
        return None;
    }
    let port = address.iter().find_map(|part| match part {
        Protocol::Tcp(port) | Protocol::Udp(port) => Some(port),
        _ => None,
    });
    Some(SocketAddrV4::new(ip, port?))
}

/// Asks for as long as the node runs, and anew in each network that it comes to.
async fn ask(mut bound: watch::Receiver<Vec<Multiaddr>>, tell: watch::Sender<Mapped>, cancel: CancellationToken) {
    while !cancel.is_cancelled() {
        let inside = Inside::of(&bound.borrow_and_update());
        let mut moved = pin!(moved(&mut bound, inside));
        let ports = tokio::select! {
            biased;
            () = cancel.cancelled() => return,
            () = &mut moved => continue,
            ports = find(inside) => ports,
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => {}
            () = moved => {}
            () = follow(&ports, &tell) => {}
        }
        told(&tell, Vec::new());
        release(ports).await;
    }
}

/// Returns when this node listens elsewhere.
async fn moved(bound: &mut watch::Receiver<Vec<Multiaddr>>, inside: Inside) {
    // Its sender goes when the node stops.
    if bound.wait_for(|bound| Inside::of(bound) != inside).await.is_err() {
        std::future::pending().await
    }
}

/// Looks for a router that can be asked, and asks it.
async fn find(inside: Inside) -> Vec<Port> {
    if inside == Inside::default() {
        return std::future::pending().await;
    }
    loop {
        // One protocol is chosen here: with several, the library renews by another one than it asked by.
        let seeker = Client::new(Config::default());
        if let Ok(Ok(Ok(speaks))) = timeout(ANSWER, seeker.probe()).await {
            let spoken = Config { enable_pcp: false, enable_nat_pmp: false, enable_upnp: false, ..Config::default() };
            let spoken = match speaks {
                ProbeOutput { pcp: true, .. } => Some(Config { enable_pcp: true, ..spoken }),
                ProbeOutput { nat_pmp: true, .. } => Some(Config { enable_nat_pmp: true, ..spoken }),
                ProbeOutput { upnp: true, .. } => Some(Config { enable_upnp: true, ..spoken }),
                _ => None,
            };
            if let Some(spoken) = spoken {
                let both = [(Transport::Tcp, inside.tcp), (Transport::Quic, inside.quic)];
                return both
                    .into_iter()
                    .filter_map(|(transport, at)| Port::ask(&spoken, transport, at?.port()))
                    .collect();
            }
        }
        sleep(AGAIN).await;
    }
}

/// Tells what the router gives, until it has given nothing for a long time.
async fn follow(ports: &[Port], tell: &watch::Sender<Mapped>) {
    let mut outside: Vec<_> = ports.iter().map(|port| port.client.watch_external_address()).collect();
    loop {
        let seen = ports.iter().zip(&mut outside);
        let mapped: Vec<_> = seen.filter_map(|(port, seen)| port.address((*seen.borrow_and_update())?)).collect();
        let is_given = !mapped.is_empty();
        told(tell, mapped);
        let changed = select_all(outside.iter_mut().map(|seen| Box::pin(seen.changed())));
        if timeout(AGAIN, changed).await.is_err() && !is_given {
            return;
        }
    }
}

fn told(tell: &watch::Sender<Mapped>, mapped: Vec<Multiaddr>) {
    tell.send_if_modified(|told| {
        let is_new = **told != mapped;
        if is_new {
            match mapped.is_empty() {
                true => tracing::info!("no port of the router leads to this node any more"),
                false => tracing::info!(addresses = ?mapped, "ports of the router lead to this node"),
            }
            *told = Arc::new(mapped);
        }
        is_new
    });
}

/// Gives the ports back.
async fn release(ports: Vec<Port>) {
    let given = ports.iter().filter(|port| port.client.watch_external_address().borrow().is_some());
    let released = given.map(|port| {
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
    fn ask(spoken: &Config, transport: Transport, port: u16) -> Option<Self> {
        let protocol = if transport == Transport::Quic { Carrier::Udp } else { Carrier::Tcp };
        let client = Client::new(Config { protocol, ..spoken.clone() });
        client.update_local_port(NonZeroU16::new(port)?);
        Some(Self { transport, client })
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of(texts: &[&str]) -> Inside {
        Inside::of(&texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>())
    }

    #[test]
    fn a_port_is_asked_for_where_a_listener_is_behind_a_nat() {
        let own =
            ["/ip6/fd00::1/tcp/1", "/ip4/127.0.0.1/tcp/2", "/ip4/192.168.0.2/tcp/3", "/ip4/192.168.0.2/udp/4/quic-v1"];
        let (tcp, quic) = ("192.168.0.2:3".parse().ok(), "192.168.0.2:4".parse().ok());
        assert_eq!(of(&own), Inside { tcp, quic });
        assert_eq!(of(&["/ip4/203.0.113.1/tcp/3", "/ip4/192.168.0.2/tcp/5/ws"]), Inside::default());
    }

    #[tokio::test]
    async fn a_machine_that_is_carried_elsewhere_asks_the_router_there() {
        let (bind, mut bound) = watch::channel(vec!["/ip4/192.168.0.2/tcp/3".parse().unwrap()]);
        let here = of(&["/ip4/192.168.0.2/tcp/3"]);
        bind.send_modify(|bound| bound.push("/ip4/172.17.0.1/tcp/3".parse().unwrap()));
        assert!(timeout(Duration::from_millis(10), moved(&mut bound, here)).await.is_err());
        bind.send_replace(vec!["/ip4/10.0.0.7/tcp/3".parse().unwrap()]);
        moved(&mut bound, here).await;
    }

    #[tokio::test]
    async fn a_router_that_is_behind_another_one_is_of_no_use() {
        let port = Port::ask(&Config::default(), Transport::Quic, 9).unwrap();
        let address = |text: &str| port.address(text.parse().unwrap()).map(|address| address.to_string());
        assert_eq!(address("203.0.113.1:7").as_deref(), Some("/ip4/203.0.113.1/udp/7/quic-v1"));
        assert_eq!(address("192.168.0.1:7"), None);
        assert_eq!(address("100.64.0.1:7"), None);
    }
}
