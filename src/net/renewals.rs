//! Members that prove a newer generation to this node, each on a stream of its own.

use libp2p::StreamProtocol;
use tokio::{sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Inbound, admission::Admission};

/// Proofs of a newer generation between members that are connected.
pub(super) const RENEW: StreamProtocol = StreamProtocol::new("/p2p-fed/admit/1/renew");

/// Proofs heard at once. When the issuer rotates, all neighbours come within a moment; those that wait are served next.
const AT_ONCE: usize = 64;

/// Hears what arrives until `cancel`.
pub(super) async fn hear(mut arriving: mpsc::Receiver<Inbound>, admission: Admission, cancel: CancellationToken) {
    let mut hearing = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = cancel.cancelled() => break,
            Some(_) = hearing.join_next() => {}
            Some(Inbound { peer, stream }) = arriving.recv(), if hearing.len() < AT_ONCE => {
                let admission = admission.clone();
                hearing.spawn(async move {
                    if let Err(error) = admission.hear(peer, stream).await {
                        // It comes again, until the grace is over.
                        tracing::debug!(%peer, %error, "newer generation not proved");
                    }
                });
            }
        }
    }
    hearing.shutdown().await;
}
