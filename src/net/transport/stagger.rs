//! Better ways get a head start.
//!
//! A peer is dialled at all of its addresses at once, and the first that leads to it wins (RFC 8305, "happy eyeballs", across
//! transports). TCP goes first: where it works it carries bytes faster than QUIC, and tells at once when the process at the
//! other end dies. A relay comes last. An address that answers nothing costs nobody more than a head start.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use libp2p::{
    Multiaddr, Transport,
    core::transport::{DialOpts, ListenerId, TransportError, TransportEvent},
};

use super::Kind;
use crate::net::listen::is_relayed;

/// After TCP. RFC 8305 has 250 ms between attempts; a TCP handshake and TLS within one country take less than this.
const QUIC: Duration = Duration::from_millis(250);

/// After TCP and QUIC: what passes more, and carries less.
const WEB: Duration = Duration::from_millis(400);

/// After all of them. Most relayed connections are given up a moment after they were made, for a direct one.
const RELAY: Duration = Duration::from_millis(500);

/// How long a dial of `address` waits.
fn head_start(address: &Multiaddr) -> Duration {
    if is_relayed(address) {
        return RELAY;
    }
    match Kind::of(address) {
        Kind::Tcp => Duration::ZERO,
        Kind::Quic => QUIC,
        Kind::WebSocket => WEB,
    }
}

/// `T`, whose dials wait for better ones.
pub(super) struct Stagger<T>(pub(super) T);

impl<T> Transport for Stagger<T>
where
    T: Transport<Dial: Send + 'static, Output: 'static, Error: 'static> + Unpin,
{
    type Output = T::Output;
    type Error = T::Error;
    type ListenerUpgrade = T::ListenerUpgrade;
    type Dial = BoxFuture<'static, Result<T::Output, T::Error>>;

    fn listen_on(&mut self, id: ListenerId, address: Multiaddr) -> Result<(), TransportError<T::Error>> {
        self.0.listen_on(id, address)
    }

    fn remove_listener(&mut self, id: ListenerId) -> bool {
        self.0.remove_listener(id)
    }

    fn dial(&mut self, address: Multiaddr, options: DialOpts) -> Result<Self::Dial, TransportError<T::Error>> {
        // A dial begins when it is polled. Where both ends dial to open their NATs, neither may be late.
        let wait = if options.role.is_listener() { Duration::ZERO } else { head_start(&address) };
        let dial = self.0.dial(address, options)?;
        if wait.is_zero() {
            return Ok(dial.boxed());
        }
        Ok(async move {
            tokio::time::sleep(wait).await;
            dial.await
        }
        .boxed())
    }

    fn poll(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<TransportEvent<Self::ListenerUpgrade, Self::Error>> {
        Pin::new(&mut self.0).poll(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tcp_goes_first_and_a_relay_last() {
        let start = |text: &str| head_start(&text.parse().unwrap());
        let relay = "p2p/12D3KooWPi4DKkcJN3BrpVSvSfpd6da3hferGsBh75KPEWHKAjuD/p2p-circuit";
        assert_eq!(start("/ip4/192.0.2.1/tcp/1"), Duration::ZERO);
        assert_eq!(start("/ip4/192.0.2.1/udp/1/quic-v1"), QUIC);
        assert_eq!(start("/dns4/relay.example/tcp/443/tls/ws"), WEB);
        for leg in ["tcp/1", "udp/1/quic-v1"] {
            assert_eq!(start(&format!("/ip4/192.0.2.1/{leg}/{relay}")), RELAY);
        }
    }
}
