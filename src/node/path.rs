//! How this node's fronts reach a worker: a direct connection, a stream of libp2p's, a stream of edgevpn's, or this node's own
//! exports.

use std::io;

use futures::future::{BoxFuture, FutureExt};
use tokio_util::compat::FuturesAsyncReadCompatExt;

use crate::{
    direct::{self, Lent},
    edgevpn::Edgevpn,
    ledger::NodeId,
    net::{Net, TUNNEL, peer_of},
    tunnel::{self, Class, Dial, DialError, Early, Header, OpenError, Tunnel},
    worker::Worker,
};

/// The way from here to any node.
#[derive(Clone, Debug)]
pub(super) struct Path {
    pub(super) net: Net,
    pub(super) direct: direct::Pool,
    pub(super) worker: Worker,
    /// How nodes of edgevpn are reached, in a compat network.
    pub(super) edgevpn: Option<Edgevpn>,
}

impl Path {
    /// Over a direct connection, if one can be had. One that broke before the verdict says little if it had rested, and
    /// nothing of the client has left: a second one is tried.
    async fn directly(&self, node: NodeId, header: &Header, early: &Early) -> Option<Result<Tunnel, DialError>> {
        loop {
            let Lent { line, has_rested, is_fresh } = self.direct.line(node).await?;
            let opened = match is_fresh {
                true => tunnel::open_early(line, header, early).await,
                false => tunnel::open(line, header).await,
            };
            match opened {
                Ok((stream, load)) => return Some(Ok(Tunnel { stream, load })),
                Err(OpenError::Broken(_)) if !early.is_sent() && has_rested => {}
                Err(OpenError::Broken(_)) if !early.is_sent() => return None,
                Err(error) => return Some(Err(error.at(node))),
            }
        }
    }

    /// Over a stream of the libp2p connection.
    async fn by_stream(&self, node: NodeId, header: &Header) -> Result<Tunnel, DialError> {
        let unreachable = |source| DialError::Unreachable { node, source };
        let no_key = || unreachable(io::Error::new(io::ErrorKind::InvalidInput, "its id is no key"));
        let peer = peer_of(&node).ok_or_else(no_key)?;
        let stream = self.net.streams().open(peer, TUNNEL).await.map_err(unreachable)?;
        let (stream, load) = tunnel::open(stream.compat(), header).await.map_err(|error| error.at(node))?;
        Ok(Tunnel { stream, load })
    }
}

impl Dial for Path {
    fn dial<'a>(&'a self, node: NodeId, header: Header, early: &'a Early) -> BoxFuture<'a, Result<Tunnel, DialError>> {
        async move {
            if node == self.net.node() {
                return self.worker.dial_local(node, header).await;
            }
            if let Some(edgevpn) = self.edgevpn.as_ref().filter(|edgevpn| edgevpn.is_legacy(&node)) {
                return edgevpn.dial(node, &header).await;
            }
            if header.class == Class::Load {
                // A few bytes now and then need no connection of their own.
                return self.by_stream(node, &header).await;
            }
            match self.directly(node, &header, early).await {
                Some(dialled) => dialled,
                None => self.by_stream(node, &header).await,
            }
        }
        .boxed()
    }
}
