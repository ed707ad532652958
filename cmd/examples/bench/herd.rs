//! Many connections that do nothing.

use std::net::SocketAddr;

use futures::{StreamExt, stream};
use tokio::time::timeout;

use anyhow::Context;

use super::{
    exchange::{Echo, LIMIT},
    taken::Errors,
};

/// Connections that are opened, or asked whether they are alive, at once. Far fewer than a listener's queue takes.
const AT_ONCE: usize = 64;

/// Connections on each of which one byte was echoed.
#[derive(Debug, Default)]
pub(super) struct Herd {
    echoes: Vec<Echo>,
    /// Those that could not be opened.
    pub(super) errors: Errors,
}

impl Herd {
    /// Opens `count` connections, in turn to each of `backends`.
    pub(super) async fn open(backends: &[SocketAddr], count: usize) -> Self {
        let opened = stream::iter(backends.iter().copied().cycle().take(count)).map(|backend| async move {
            let opened = async {
                let mut echo = Echo::open(backend).await?;
                echo.exchange::<1>().await?;
                Ok(echo)
            };
            timeout(LIMIT, opened).await.context("no echo in time").flatten()
        });
        let mut herd = Self::default();
        let mut opened = std::pin::pin!(opened.buffer_unordered(AT_ONCE));
        while let Some(outcome) = opened.next().await {
            match outcome {
                Ok(echo) => herd.echoes.push(echo),
                Err(error) => herd.errors.note(&error),
            }
        }
        herd
    }

    /// How many could be opened.
    pub(super) fn opened(&self) -> usize {
        self.echoes.len()
    }

    /// How many still echo a byte.
    pub(super) async fn alive(&mut self) -> usize {
        let asked = stream::iter(self.echoes.iter_mut()).map(Echo::is_alive);
        asked.buffer_unordered(AT_ONCE).filter(|alive| std::future::ready(*alive)).count().await
    }
}
