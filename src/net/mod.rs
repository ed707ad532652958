//! net

pub mod mdns;
