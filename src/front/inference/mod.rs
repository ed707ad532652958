//! Requests to model servers: what they ask for, and what they cost.

mod call;

pub(super) use call::{Api, Call, Does};
