//! A worker, and a front for each mode.

use std::{net::SocketAddr, path::Path};

use anyhow::Context;

use super::{
    Backend, Site,
    chain::{Chain, Entry},
    nodes::{Nodes, Transport},
    ports,
    process::Process,
};

const FRONT: &str = "front-tcp";
const TCP: &str = "bench-tcp";
const HTTP: &str = "bench-http";

/// The network, beside the chain that is measured: what is started later joins it.
#[derive(Debug)]
pub(crate) struct P2pFed {
    nodes: Nodes,
    exports: Vec<String>,
    /// The worker's address.
    peer: String,
}

impl P2pFed {
    pub(super) async fn start(site: &Site<'_>, bin: &Path, transport: Transport) -> anyhow::Result<(Self, Chain)> {
        let nodes = Nodes::mint(bin, transport, site.folder).await?;
        let Backend { tcp, http } = site.backend;
        let exports = vec![format!("{TCP}=tcp://{tcp}"), format!("{HTTP}=http://{http}")];
        let (worker, peer) = nodes.worker("worker", &exports, None).await?;
        let [tcp, http] = [TCP, HTTP].map(|service| format!("{service}@127.0.0.1:0"));
        let (tcp_mode, listeners) = nodes.front(FRONT, "tcp", &peer, &[tcp, http.clone()]).await?;
        let (http_mode, http_listeners) = nodes.front("front-http", "http", &peer, &[http]).await?;
        let [tcp, http] = listeners.try_into().ok().context("two services, two listeners")?;
        let understands = http_listeners.first().copied();
        let entry = Entry { tcp, http, http_mode: understands, http2: understands };
        let chain = Chain::new(entry, vec![tcp_mode, http_mode], vec![worker]).ready().await?;
        Ok((Self { nodes, exports, peer }, chain))
    }

    /// A second worker, which does not know of the first but by its address.
    pub(crate) async fn second_worker(&self) -> anyhow::Result<Process> {
        Ok(self.nodes.worker("worker-2", &self.exports, Some(&self.peer)).await?.0)
    }

    /// How many workers the front in TCP mode could pick now.
    pub(crate) async fn workers(&self) -> anyhow::Result<usize> {
        self.nodes.workers(FRONT, TCP).await
    }

    /// One more front; returns at once where it will listen.
    pub(crate) fn fresh_front(&self) -> anyhow::Result<(Process, SocketAddr)> {
        let [address] = ports::free()?;
        let service = format!("{TCP}@{address}");
        Ok((self.nodes.front_at_once("front-fresh", "tcp", &self.peer, &[service])?, address))
    }
}
