//! How this node's fronts reach a worker: a stream to another node, or its own exports.

use std::io;

use futures::future::{BoxFuture, FutureExt};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use crate::{
    ledger::NodeId,
    net::{Net, TUNNEL, peer_of},
    tunnel::{self, Dial, DialError, Header, Tunnel},
    worker::Worker,
};

/// The way from here to any node.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) net: Net,
    pub(super) worker: Worker,
}

impl Dial for Path {
    fn dial(&self, node: NodeId, header: Header) -> BoxFuture<'_, Result<Tunnel, DialError>> {
        async move {
            if node == self.net.node() {
                return self.worker.dial_local(node, header).await;
            }
            let unreachable = |source| DialError::Unreachable { node, source };
            let no_key = || unreachable(io::Error::new(io::ErrorKind::InvalidInput, "its id is no key"));
            let peer = peer_of(&node).ok_or_else(no_key)?;
            let stream = self.net.streams().open(peer, TUNNEL).await.map_err(unreachable)?;
            let (stream, load) = tunnel::open(stream.compat(), &header).await.map_err(|error| error.at(node))?;
            Ok(Tunnel { stream, load })
        }
        .boxed()
    }
}
