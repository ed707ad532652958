//! A token and the nodes that share it.

use std::sync::Arc;

use crate::{
    host::Host,
    node::{Node, Plan},
};

pub struct Network {
    pub token: String,
}

impl Network {
    /// A new one, named by a token that the binary mints.
    pub async fn new() -> Self {
        Self::minted(&[]).await
    }

    /// Likewise, with flags for `p2p-fed token`.
    pub async fn minted(flags: &[&str]) -> Self {
        let minted = Host::new().run(["token"].iter().chain(flags)).await;
        assert_eq!(minted.code, Some(0), "{minted:?}");
        Self { token: minted.stdout.trim_end().to_owned() }
    }

    /// Starts a node on a machine of its own, and waits until it is ready.
    pub async fn start(&self, plan: Plan) -> Node {
        self.start_on(&Arc::new(Host::new()), plan).await
    }

    /// Starts a node beside those that are on `host` already.
    pub async fn start_on(&self, host: &Arc<Host>, plan: Plan) -> Node {
        host.write("token", &self.token);
        Node::start(Arc::clone(host), plan).await
    }
}
