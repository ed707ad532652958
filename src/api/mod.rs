//! api
pub mod status;
