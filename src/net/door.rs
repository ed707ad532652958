//! Two kinds of connection arrive at one TCP port; the first byte tells them apart.
//!
//! libp2p's begin with the length of `/multistream/1.0.0`. Direct ones begin with [`KNOCK`] and are handed on as they are,
//! nothing read. So a port that is open or forwarded for libp2p serves both.

use std::io;

use libp2p::{core::ConnectedPoint, tcp::tokio::TcpStream as Arrived};
use tokio::{net::TcpStream, sync::mpsc};

/// The first byte of a direct connection.
pub const KNOCK: u8 = 0x50;

/// Direct connections that wait to be welcomed. That takes microseconds; beyond, a flood is dropped.
const WAITING: usize = 256;

/// Looks at the first byte.
#[derive(Clone, Debug)]
pub(super) struct Door {
    knocks: mpsc::Sender<TcpStream>,
}

/// It is no connection of libp2p's.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("handed over as a direct connection")]
pub(super) struct HandedOver;

impl Door {
    /// The door, and the connections that knocked at it.
    pub(super) fn new() -> (Self, mpsc::Receiver<TcpStream>) {
        let (knocks, knocked) = mpsc::channel(WAITING);
        (Self { knocks }, knocked)
    }

    /// The first step in the transport's upgrade of TCP. The caller bounds the wait.
    ///
    /// # Errors
    /// [`HandedOver`], or the connection broke before its first byte.
    pub(super) async fn open(self, arrived: Arrived, point: ConnectedPoint) -> io::Result<Arrived> {
        if point.is_listener() && first_byte(&arrived.0).await? == Some(KNOCK) {
            // Nobody receives any more when the node stops.
            let _ = self.knocks.try_send(arrived.into());
            return Err(io::Error::other(HandedOver));
        }
        Ok(arrived)
    }
}

/// Leaves it where it is.
async fn first_byte(socket: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let seen = socket.peek(&mut byte).await?;
    Ok(byte.first().copied().filter(|_| seen > 0))
}
