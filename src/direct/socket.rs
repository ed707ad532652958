//! What both ends set on their sockets.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// A connection on which nothing arrives is asked whether it still stands after so long, so that one through a router that
/// forgot it, or to a machine that lost its power, does not look usable for ever. Each waits a little longer by chance: thousands
/// that were opened in one moment would else be asked in one moment, and the answers crowd each other out.
const KEEPALIVE: Duration = Duration::from_secs(15);
const KEEPALIVE_SPREAD: Duration = Duration::from_secs(15);

/// Between two such questions, and how many may stay unanswered.
const KEEPALIVE_AGAIN: (Duration, u32) = (Duration::from_secs(5), 5);

/// How long bytes under way may stay unanswered. A router that forgot a download lets nothing in until the client's end asks; by
/// then the sender tries again at intervals that double, so its next try may come after twice that time.
#[cfg(target_os = "linux")]
const UNANSWERED: Duration = Duration::from_secs(75);

/// All of it only tunes; a socket that refuses it works.
pub(super) fn tune(socket: &TcpStream) {
    let _ = socket.set_nodelay(true);
    let time = KEEPALIVE + KEEPALIVE_SPREAD.mul_f64(rand::random());
    let (interval, retries) = KEEPALIVE_AGAIN;
    let keepalive = TcpKeepalive::new().with_time(time).with_interval(interval).with_retries(retries);
    let socket = SockRef::from(socket);
    let _ = socket.set_tcp_keepalive(&keepalive);
    // Not less than the questions take: where this is set, Linux lets it cut them short, so that one lost answer would end a
    // connection at rest.
    #[cfg(target_os = "linux")]
    let _ = socket.set_tcp_user_timeout(Some(UNANSWERED));
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn one_lost_answer_does_not_end_a_connection_at_rest() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&stream);
        let socket = SockRef::from(&stream);
        let questions = socket.tcp_keepalive_interval().unwrap() * socket.tcp_keepalive_retries().unwrap();
        let in_all = socket.tcp_keepalive_time().unwrap() + questions;
        assert!(socket.tcp_user_timeout().unwrap().unwrap() >= in_all, "{in_all:?}");
    }

    #[test]
    fn a_sender_tries_again_after_the_other_end_has_asked() {
        assert!(UNANSWERED > (KEEPALIVE + KEEPALIVE_SPREAD) * 2);
    }
}
