//! The binary as users meet it: what it prints where, with which exit code, and what it never prints.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod asking;
mod doctor;
mod help;
mod host;
mod issuing;
mod lifetime;
mod localai;
mod pinging;
mod refusals;
mod secrets;
mod token;
