//! Whether a client may end its half and still be answered.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{backend::UP, exchange::LIMIT};

/// What is sent before the end, in bytes: little enough to be in one segment with it.
const BYTES: u64 = 100;

/// # Errors
/// The answer, which comes after the backend has seen the end, does not arrive, or is wrong.
pub(super) async fn check(backend: SocketAddr) -> anyhow::Result<()> {
    let exchange = async {
        let mut connection = TcpStream::connect(backend).await.context("cannot connect")?;
        connection.write_all(&[UP]).await?;
        connection.write_all(&[0x5a; BYTES as usize]).await?;
        connection.shutdown().await?;
        let counted = connection.read_u64().await.context("no answer after the end")?;
        ensure!(counted == BYTES, "{BYTES} bytes were sent and {counted} arrived");
        ensure!(connection.read(&mut [0; 1]).await? == 0, "more came than was asked for");
        Ok(())
    };
    timeout(LIMIT, exchange).await.context("no answer after the end, in time").flatten()
}
