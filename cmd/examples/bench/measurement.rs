//! What is measured.

use std::{net::SocketAddr, time::Duration};

use super::{latency, requests, throughput};

/// One run of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Measurement {
    /// Bytes.
    Throughput(Direction, usize),
    /// HTTP requests of many clients; kept alive or not.
    Requests {
        /// Each client keeps its connection.
        keep_alive: bool,
    },
    /// Small exchanges of one client over TCP.
    TcpLatency,
    /// Small exchanges of one client over HTTP.
    HttpLatency,
}

/// Which way the bytes go, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Direction {
    /// From the backend.
    Down,
    /// To the backend.
    Up,
}

/// Where a path begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Its TCP port.
    pub(super) tcp: SocketAddr,
    /// Its HTTP port.
    pub(super) http: SocketAddr,
}

/// One number that a measurement gives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    /// In JSON.
    pub(super) key: &'static str,
    /// In the table.
    pub(super) title: &'static str,
    pub(super) unit: &'static str,
    /// What it takes more than the direct path is of interest: a latency.
    pub(super) is_latency: bool,
}

/// What a measurement gave.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// A value for each of the measurement's figures, or fewer after errors.
    pub(super) values: Vec<f64>,
    /// What went wrong.
    pub(super) errors: Errors,
}

/// How often something went wrong, and what first.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Errors {
    /// How often.
    pub(super) count: u64,
    /// What first.
    pub(super) first: Option<String>,
}

impl Errors {
    /// Counts one.
    pub(super) fn note(&mut self, error: &anyhow::Error) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("{error:#}"));
    }

    /// Counts all of `others`.
    pub(super) fn add(&mut self, others: Self) {
        self.count += others.count;
        self.first = self.first.take().or(others.first);
    }
}

impl Measurement {
    /// In the order in which they are taken and shown.
    pub(super) const ALL: [Self; 8] = [
        Self::Throughput(Direction::Down, 1),
        Self::Throughput(Direction::Up, 1),
        Self::Throughput(Direction::Down, MANY),
        Self::Throughput(Direction::Up, MANY),
        Self::Requests { keep_alive: true },
        Self::Requests { keep_alive: false },
        Self::TcpLatency,
        Self::HttpLatency,
    ];

    /// Takes it once; throughput, requests and latency run for `period`.
    pub(super) async fn take(self, entry: Entry, period: Duration) -> Taken {
        match self {
            Self::Throughput(direction, streams) => throughput::measure(entry.tcp, direction, streams, period).await,
            Self::Requests { keep_alive } => requests::measure(entry.http, keep_alive, period).await,
            Self::TcpLatency => latency::tcp(entry.tcp, period).await,
            Self::HttpLatency => latency::http(entry.http, period).await,
        }
    }

    /// What it gives.
    pub(super) fn figures(self) -> Vec<Figure> {
        match self {
            Self::Throughput(Direction::Down, 1) => vec![figure("down_1_mib_s", "down, 1 stream", "MiB/s")],
            Self::Throughput(Direction::Up, 1) => vec![figure("up_1_mib_s", "up, 1 stream", "MiB/s")],
            Self::Throughput(Direction::Down, _) => vec![figure("down_16_mib_s", "down, 16 streams", "MiB/s")],
            Self::Throughput(Direction::Up, _) => vec![figure("up_16_mib_s", "up, 16 streams", "MiB/s")],
            Self::Requests { keep_alive: true } => vec![figure("requests_kept_alive_s", "requests, kept alive", "1/s")],
            Self::Requests { keep_alive: false } => vec![figure("requests_closed_s", "requests, closed", "1/s")],
            Self::TcpLatency => vec![timed("tcp_p50_us", "tcp echo p50"), timed("tcp_p99_us", "tcp echo p99")],
            Self::HttpLatency => vec![timed("http_p50_us", "http get p50"), timed("http_p99_us", "http get p99")],
        }
    }
}

/// Streams at once, where it is not one.
const MANY: usize = 16;

fn figure(key: &'static str, title: &'static str, unit: &'static str) -> Figure {
    Figure { key, title, unit, is_latency: false }
}

fn timed(key: &'static str, title: &'static str) -> Figure {
    Figure { key, title, unit: "µs", is_latency: true }
}
