//! Free ports for programs that cannot choose one themselves and say which.

use std::{
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use anyhow::Context;
use tokio::{
    net::TcpStream,
    time::{sleep, timeout},
};

use super::process::{Process, START};

/// How often it is tried whether somebody listens.
const AGAIN: Duration = Duration::from_millis(20);

/// Addresses on loopback that nobody listens on. Somebody else may take one before it is used: whoever starts a program on
/// them tries once more.
pub(super) fn free<const COUNT: usize>() -> anyhow::Result<[SocketAddr; COUNT]> {
    let mut addresses = [SocketAddr::from(([127, 0, 0, 1], 0)); COUNT];
    // All are held until the last is there, so that they differ.
    let mut held = Vec::new();
    for address in &mut addresses {
        let listener = TcpListener::bind(*address)?;
        *address = listener.local_addr()?;
        held.push(listener);
    }
    Ok(addresses)
}

/// Returns when `process` listens there.
pub(super) async fn taken(address: SocketAddr, process: &mut Process) -> anyhow::Result<()> {
    let listening = async {
        while TcpStream::connect(address).await.is_err() {
            process.check()?;
            sleep(AGAIN).await;
        }
        Ok(())
    };
    timeout(START, listening).await.with_context(|| format!("nobody listens on {address}"))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_differ_and_can_be_bound() {
        let ports = free::<3>().unwrap();
        assert!(ports[0] != ports[1] && ports[1] != ports[2] && ports[0] != ports[2]);
        assert!(ports.iter().all(|port| port.port() != 0));
    }
}
