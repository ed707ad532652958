//! What both ends set on their sockets.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// A connection at rest is asked whether it still stands after so long, so that one through a router that forgot it, or to
/// a machine that lost its power, does not look usable for ever.
const KEEPALIVE: Duration = Duration::from_secs(30);

/// Between two such questions, and how many may stay unanswered.
const KEEPALIVE_AGAIN: (Duration, u32) = (Duration::from_secs(5), 3);

/// Bytes that nobody acknowledged for so long end the connection.
const UNACKNOWLEDGED: Duration = Duration::from_secs(15);

/// All of it only tunes; a socket that refuses it works.
pub(super) fn tune(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let (interval, retries) = KEEPALIVE_AGAIN;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE).with_interval(interval).with_retries(retries);
    let socket = SockRef::from(socket);
    let _ = socket.set_tcp_keepalive(&keepalive);
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(UNACKNOWLEDGED));
}
