//! A splice between two pipes in memory, with a client at one end and the far end of the tunnel at the other.

use std::time::Duration;

use p2p_fed::tunnel::{Transferred, TunnelStream, splice};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    runtime::{Builder, Runtime},
};
use tokio_util::sync::CancellationToken;

use super::Round;

/// Messages there and back.
pub(super) const MESSAGES: u32 = 1000;

const MESSAGE: usize = 64;
const MEBIBYTE: usize = 1 << 20;
/// Bytes that the pipe to the client holds, and that are read at a time: what a socket would.
const PIPE: usize = 64 * 1024;
/// No splice here is ever idle.
const IDLE: Duration = Duration::from_secs(3600);

/// A client sends a mebibyte and hears that it arrived.
pub(super) fn mebibyte() -> Round {
    async fn client(mut pipe: DuplexStream) -> DuplexStream {
        let body = vec![7; PIPE];
        for _ in 0..MEBIBYTE / PIPE {
            pipe.write_all(&body).await.expect("the splice reads");
        }
        pipe.shutdown().await.expect("the splice reads");
        pipe
    }
    async fn far(mut tunnel: TunnelStream) -> TunnelStream {
        let (mut chunk, mut got) = (vec![0; PIPE], 0);
        while got < MEBIBYTE {
            got += tunnel.read(&mut chunk).await.expect("the splice writes");
        }
        tunnel.shutdown().await.expect("the splice reads");
        tunnel
    }
    round(client, far, (MEBIBYTE, 0))
}

/// A client sends short messages, each when the last came back.
pub(super) fn messages() -> Round {
    async fn client(mut pipe: DuplexStream) -> DuplexStream {
        let mut message = [7; MESSAGE];
        for _ in 0..MESSAGES {
            pipe.write_all(&message).await.expect("the splice reads");
            pipe.read_exact(&mut message).await.expect("the splice writes");
        }
        pipe.shutdown().await.expect("the splice reads");
        pipe
    }
    async fn far(mut tunnel: TunnelStream) -> TunnelStream {
        let mut message = [0; MESSAGE];
        for _ in 0..MESSAGES {
            tunnel.read_exact(&mut message).await.expect("the splice writes");
            tunnel.write_all(&message).await.expect("the splice reads");
            tunnel.flush().await.expect("the splice reads");
        }
        tunnel.shutdown().await.expect("the splice reads");
        tunnel
    }
    let bytes = MESSAGE * MESSAGES as usize;
    round(client, far, (bytes, bytes))
}

/// Runs both ends and the splice between them on this thread, and counts what passed up and down.
fn round<C, F>(
    client: impl FnOnce(DuplexStream) -> C + 'static,
    far: impl FnOnce(TunnelStream) -> F + 'static,
    bytes: (usize, usize),
) -> Round
where
    C: Future<Output = DuplexStream>,
    F: Future<Output = TunnelStream>,
{
    let runtime: Runtime = Builder::new_current_thread().enable_time().build().expect("a runtime");
    let (near_client, mut local) = duplex(PIPE);
    let (mut tunnel, far_tunnel) = TunnelStream::pair();
    Box::new(move || {
        let cancel = CancellationToken::new();
        let (Transferred { up, down, end }, near_client, far_tunnel) = runtime.block_on(async {
            tokio::join!(splice(&mut local, &mut tunnel, IDLE, &cancel), client(near_client), far(far_tunnel))
        });
        assert!(end.is_complete(), "{end}");
        assert_eq!((up, down), (bytes.0 as u64, bytes.1 as u64));
        Box::new((runtime, near_client, local, tunnel, far_tunnel))
    })
}
