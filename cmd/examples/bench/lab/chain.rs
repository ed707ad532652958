//! One path as it runs: where it begins, and the processes on the way.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use rustix::process::Pid;
use tokio::time::{Instant, sleep, timeout};

use super::{
    process::{Process, START},
    usage,
};
use crate::exchange;

/// How often it is tried whether a path carries bytes; its programs do not tell.
const AGAIN: Duration = Duration::from_millis(20);

/// What one such try may take. A program that took the connection and does not answer is not ready.
const TRY: Duration = Duration::from_secs(2);

/// Where a path begins.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Entry {
    /// To the backend's TCP port.
    pub(crate) tcp: SocketAddr,
    /// To its HTTP port, carried as TCP.
    pub(crate) http: SocketAddr,
    /// To its HTTP port, by somebody who understands HTTP; few do.
    pub(crate) http_mode: Option<SocketAddr>,
    /// The same for clients that begin with HTTP/2.
    pub(crate) http2: Option<SocketAddr>,
}

/// A path's processes. Dropped, they are killed.
#[derive(Debug)]
pub(crate) struct Chain {
    pub(crate) entry: Entry,
    /// On the client's side.
    near: Vec<Process>,
    /// On the backend's side.
    far: Vec<Process>,
}

impl Chain {
    pub(crate) fn new(entry: Entry, near: Vec<Process>, far: Vec<Process>) -> Self {
        Self { entry, near, far }
    }

    /// Returns when bytes get through.
    pub(super) async fn ready(mut self) -> anyhow::Result<Self> {
        let deadline = Instant::now() + START;
        for address in [Some(self.entry.tcp), Some(self.entry.http), self.entry.http_mode].into_iter().flatten() {
            let tried = async || match address == self.entry.tcp {
                true => exchange::echo(address).await,
                false => exchange::get(address).await,
            };
            while let Err(error) = timeout(TRY, tried()).await.context("no answer").flatten() {
                self.near.iter_mut().chain(&mut self.far).try_for_each(Process::check)?;
                if Instant::now() > deadline {
                    return Err(error.context(format!("not ready within {} s", START.as_secs())));
                }
                sleep(AGAIN).await;
            }
        }
        Ok(self)
    }

    /// Seconds on a core of all its processes up to now.
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        self.sum(usage::cpu_seconds)
    }

    /// Bytes in memory of all its processes.
    pub(crate) fn resident(&self) -> anyhow::Result<u64> {
        self.sum(usage::resident)
    }

    /// Kills the backend's side without a word.
    pub(crate) fn kill_far(&mut self) -> anyhow::Result<()> {
        self.far.iter_mut().try_for_each(Process::kill)
    }

    /// Nothing is on the way.
    pub(crate) fn is_direct(&self) -> bool {
        self.near.is_empty() && self.far.is_empty()
    }

    /// Ends all processes, those first that depend on others.
    pub(super) async fn stop(self) {
        for process in self.near.into_iter().chain(self.far) {
            process.stop().await;
        }
    }

    fn sum<T: std::iter::Sum>(&self, of: fn(Pid) -> anyhow::Result<T>) -> anyhow::Result<T> {
        let mut values = Vec::new();
        for process in self.near.iter().chain(&self.far) {
            for pid in usage::family(process.pid())? {
                values.push(of(pid)?);
            }
        }
        Ok(values.into_iter().sum())
    }
}
