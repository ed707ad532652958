//! A whole front on a real socket, with real backends, over tunnels in memory.

mod drain;
mod failover;
mod http;
mod lab;
mod reports;
mod smuggling;
mod tcp;
mod upgrade;
