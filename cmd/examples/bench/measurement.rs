//! What is measured again in every round.

use std::time::Duration;

use super::{
    connects,
    figure::Figure,
    lab::Chain,
    latency,
    requests::{self, Question},
    taken::Taken,
    throughput,
};

/// One run of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Measurement {
    /// Bytes over so many streams at once.
    Throughput(Direction, usize),
    /// Small exchanges of so many clients over TCP.
    Latency(usize),
    /// New connections of many clients.
    Connects,
    /// HTTP requests of many clients.
    Requests(Mode, Persistence),
    /// Inferences of many clients, where HTTP is understood.
    Chats,
    /// HTTP/2 requests of many clients, where it is understood.
    Http2,
    /// Small exchanges of one client over HTTP, where HTTP is understood.
    HttpLatency,
}

/// Which way the bytes go, seen from the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the backend.
    Down,
    /// To the backend.
    Up,
}

/// What a path takes HTTP for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Bytes.
    Tcp,
    /// Requests.
    Http,
}

/// What a client does with its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Persistence {
    /// It asks again.
    KeptAlive,
    /// It closes it.
    Closed,
}

/// Streams at once, where it is not one.
const STREAMS: usize = 16;

/// Clients at once that wait for small answers, where it is not one.
const CLIENTS: usize = 32;

impl Measurement {
    /// In the order in which they are taken and shown.
    pub(super) const ALL: [Self; 14] = [
        Self::Throughput(Direction::Down, 1),
        Self::Throughput(Direction::Up, 1),
        Self::Throughput(Direction::Down, STREAMS),
        Self::Throughput(Direction::Up, STREAMS),
        Self::Latency(1),
        Self::Latency(CLIENTS),
        Self::Connects,
        Self::Requests(Mode::Tcp, Persistence::KeptAlive),
        Self::Requests(Mode::Tcp, Persistence::Closed),
        Self::Requests(Mode::Http, Persistence::KeptAlive),
        Self::Requests(Mode::Http, Persistence::Closed),
        Self::Chats,
        Self::Http2,
        Self::HttpLatency,
    ];

    /// Takes it once, for `period`; none where the path does not understand HTTP and would have to.
    pub(super) async fn take(self, chain: &Chain, period: Duration) -> Option<Taken> {
        let entry = chain.entry;
        Some(match self {
            Self::Throughput(direction, streams) => throughput::measure(chain, direction, streams, period).await,
            Self::Latency(clients) => latency::tcp(entry.tcp, clients, period).await,
            Self::Connects => connects::measure(entry.tcp, period).await,
            Self::Requests(mode, persistence) => {
                let backend = match mode {
                    Mode::Tcp => entry.http,
                    Mode::Http => entry.http_mode?,
                };
                let question = match persistence {
                    Persistence::KeptAlive => Question::Get,
                    Persistence::Closed => Question::GetOnce,
                };
                requests::measure(backend, question, period).await
            }
            Self::Chats => requests::measure(entry.http_mode?, Question::Chat, period).await,
            Self::Http2 => requests::measure_http2(entry.http2?, period).await,
            Self::HttpLatency => latency::http(entry.http_mode?, period).await,
        })
    }

    /// What it gives.
    pub(super) fn figures(self) -> &'static [Figure] {
        match self {
            Self::Throughput(Direction::Down, 1) => &DOWN_1,
            Self::Throughput(Direction::Up, 1) => &UP_1,
            Self::Throughput(Direction::Down, _) => &DOWN_16,
            Self::Throughput(Direction::Up, _) => &UP_16,
            Self::Latency(1) => &ECHO_1,
            Self::Latency(_) => &ECHO_32,
            Self::Connects => &CONNECTS,
            Self::Requests(Mode::Tcp, Persistence::KeptAlive) => &KEPT_ALIVE_TCP,
            Self::Requests(Mode::Tcp, Persistence::Closed) => &CLOSED_TCP,
            Self::Requests(Mode::Http, Persistence::KeptAlive) => &KEPT_ALIVE_HTTP,
            Self::Requests(Mode::Http, Persistence::Closed) => &CLOSED_HTTP,
            Self::Chats => &CHATS,
            Self::Http2 => &HTTP_2,
            Self::HttpLatency => &GET,
        }
    }
}

const DOWN_1: [Figure; 2] = [
    Figure::higher("down_1_mib_s", "down, 1 stream, MiB/s", "MiB/s"),
    Figure::lower("down_1_cpu_s_gib", "  CPU, s/GiB", "s/GiB"),
];
const UP_1: [Figure; 2] = [
    Figure::higher("up_1_mib_s", "up, 1 stream, MiB/s", "MiB/s"),
    Figure::lower("up_1_cpu_s_gib", "  CPU, s/GiB", "s/GiB"),
];
const DOWN_16: [Figure; 2] = [
    Figure::higher("down_16_mib_s", "down, 16 streams, MiB/s", "MiB/s"),
    Figure::lower("down_16_cpu_s_gib", "  CPU, s/GiB", "s/GiB"),
];
const UP_16: [Figure; 2] = [
    Figure::higher("up_16_mib_s", "up, 16 streams, MiB/s", "MiB/s"),
    Figure::lower("up_16_cpu_s_gib", "  CPU, s/GiB", "s/GiB"),
];
const ECHO_1: [Figure; 2] =
    [Figure::added("tcp_p50_us", "echo, 1 client, p50, µs"), Figure::added("tcp_p99_us", "echo, 1 client, p99, µs")];
const ECHO_32: [Figure; 2] = [
    Figure::lower("tcp_32_p50_us", "echo, 32 clients, p50, µs", "µs"),
    Figure::lower("tcp_32_p99_us", "echo, 32 clients, p99, µs", "µs"),
];
const CONNECTS: [Figure; 3] = [
    Figure::higher("connects_s", "new connections/s", "1/s"),
    Figure::lower("connects_p50_ms", "  p50, ms", "ms"),
    Figure::lower("connects_p99_ms", "  p99, ms", "ms"),
];
const KEPT_ALIVE_TCP: [Figure; 3] = [
    Figure::higher("requests_kept_alive_tcp_mode_s", "requests/s, kept alive, tcp mode", "1/s"),
    Figure::lower("requests_kept_alive_tcp_mode_p50_ms", "  p50, ms", "ms"),
    Figure::lower("requests_kept_alive_tcp_mode_p99_ms", "  p99, ms", "ms"),
];
const CLOSED_TCP: [Figure; 3] = [
    Figure::higher("requests_closed_tcp_mode_s", "requests/s, closed, tcp mode", "1/s"),
    Figure::lower("requests_closed_tcp_mode_p50_ms", "  p50, ms", "ms"),
    Figure::lower("requests_closed_tcp_mode_p99_ms", "  p99, ms", "ms"),
];
const KEPT_ALIVE_HTTP: [Figure; 3] = [
    Figure::higher("requests_kept_alive_http_mode_s", "requests/s, kept alive, http mode", "1/s"),
    Figure::lower("requests_kept_alive_http_mode_p50_ms", "  p50, ms", "ms"),
    Figure::lower("requests_kept_alive_http_mode_p99_ms", "  p99, ms", "ms"),
];
const CLOSED_HTTP: [Figure; 3] = [
    Figure::higher("requests_closed_http_mode_s", "requests/s, closed, http mode", "1/s"),
    Figure::lower("requests_closed_http_mode_p50_ms", "  p50, ms", "ms"),
    Figure::lower("requests_closed_http_mode_p99_ms", "  p99, ms", "ms"),
];
const CHATS: [Figure; 3] = [
    Figure::higher("chats_s", "inferences/s, kept alive, http mode", "1/s"),
    Figure::lower("chats_p50_ms", "  p50, ms", "ms"),
    Figure::lower("chats_p99_ms", "  p99, ms", "ms"),
];
const HTTP_2: [Figure; 3] = [
    Figure::higher("http2_requests_s", "requests/s, HTTP/2, http mode", "1/s"),
    Figure::lower("http2_requests_p50_ms", "  p50, ms", "ms"),
    Figure::lower("http2_requests_p99_ms", "  p99, ms", "ms"),
];
const GET: [Figure; 2] =
    [Figure::added("http_p50_us", "get, http mode, p50, µs"), Figure::added("http_p99_us", "get, http mode, p99, µs")];
