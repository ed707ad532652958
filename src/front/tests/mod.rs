//! A whole front on a real socket, with real backends, over tunnels in memory.

mod clients;
mod desync;
mod drain;
mod failover;
mod http;
mod http2;
mod journal;
pub(super) mod lab;
mod limits;
mod models;
mod queue;
mod reports;
mod retries;
mod smuggling;
mod tcp;
mod tls;
mod udp;
mod upgrade;
