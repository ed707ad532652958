//! A whole front on a real socket, with real backends, over tunnels in memory.

mod drain;
mod failover;
mod http;
mod lab;
mod smuggling;
mod tcp;
mod upgrade;
