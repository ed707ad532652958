//! How long one small exchange takes, on a connection that is open.

use std::{net::SocketAddr, time::Duration};

use super::{
    crowd::{self, Client},
    exchange::Echo,
    requests::Connection,
    taken::Taken,
};

/// Bytes there and back: a keystroke, a small query.
const MESSAGE: usize = 64;

/// Microseconds in a second.
const MICRO: f64 = 1e6;

/// p50 and p99 in µs of messages sent there and back by so many clients at once, each on one TCP connection.
pub(super) async fn tcp(backend: SocketAddr, clients: usize, period: Duration) -> Taken {
    summary(crowd::run((0..clients).map(|_| TcpClient { backend, echo: None }), period).await)
}

/// p50 and p99 in µs of requests of one client on one HTTP connection.
pub(super) async fn http(backend: SocketAddr, period: Duration) -> Taken {
    summary(crowd::run([HttpClient { backend, connection: None }], period).await)
}

fn summary(done: crowd::Done) -> Taken {
    Taken { values: vec![done.percentile(50, MICRO), done.percentile(99, MICRO)], errors: done.errors }
}

struct TcpClient {
    backend: SocketAddr,
    echo: Option<Echo>,
}

impl Client for TcpClient {
    async fn prepare(&mut self) -> anyhow::Result<()> {
        if self.echo.is_none() {
            let mut echo = Echo::open(self.backend).await?;
            // The first exchange opens tunnels and connections.
            echo.exchange::<MESSAGE>().await?;
            self.echo = Some(echo);
        }
        Ok(())
    }

    async fn act(&mut self) -> anyhow::Result<()> {
        if let Some(mut echo) = self.echo.take() {
            echo.exchange::<MESSAGE>().await?;
            self.echo = Some(echo);
        }
        Ok(())
    }
}

struct HttpClient {
    backend: SocketAddr,
    connection: Option<Connection>,
}

impl Client for HttpClient {
    async fn prepare(&mut self) -> anyhow::Result<()> {
        if self.connection.is_none() {
            let mut connection = Connection::open(self.backend).await?;
            connection.ask(true).await?;
            self.connection = Some(connection);
        }
        Ok(())
    }

    async fn act(&mut self) -> anyhow::Result<()> {
        if let Some(mut connection) = self.connection.take() {
            connection.ask(true).await?;
            self.connection = Some(connection);
        }
        Ok(())
    }
}
