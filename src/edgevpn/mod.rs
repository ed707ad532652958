//! The edgevpn side of a compat network, which LocalAI's federation is built on.

mod config;

pub use config::{Config, LocalAi, ParseLocalAiError};
