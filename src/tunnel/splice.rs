//! Copying both directions until both end.

use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::TunnelStream;

/// What a splice carried, and how it ended.
#[derive(Debug)]
pub struct Transferred {
    /// Bytes from the local side into the tunnel.
    pub up: u64,
    /// Bytes from the tunnel to the local side.
    pub down: u64,
    /// Why it stopped.
    pub end: End,
}

/// How a splice ended.
#[derive(Debug)]
pub enum End {
    /// Both directions ended cleanly.
    Complete,
    /// No byte moved in either direction for the idle time.
    Idle,
    /// The caller's token was cancelled.
    Cancelled,
    /// Reading from or writing to the local side failed.
    Local(std::io::Error),
    /// Reading from or writing to the tunnel failed.
    Tunnel(std::io::Error),
}

/// Copies `local` to `tunnel` and back until both directions ended, nothing moved for `idle`, or `cancel` fires.
pub async fn splice<L: AsyncRead + AsyncWrite + Unpin>(
    local: &mut L,
    tunnel: &mut TunnelStream,
    idle: Duration,
    cancel: &CancellationToken,
) -> Transferred {
    let _ = (local, tunnel, idle, cancel);
    unimplemented!("the tunnel helper writes this")
}
