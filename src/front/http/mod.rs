//! HTTP from clients, request by request, over pooled tunnels.
//!
//! hyper parses and writes both sides, so what a backend gets is framed by us and never by a client: there is nothing to
//! smuggle. Around it: what hyper lets through and we don't ([`framing`], [`objection`]), who may be told what
//! ([`headers`]), what may be repeated ([`upload`]), and what holds a worker until its response ended ([`download`]).
//!
//! **Invariant.** A request is sent a second time only if nothing of it was sent; or if its method is idempotent or it is a
//! known computation, its body can be replayed and no byte of a response was passed on.
//!
//! A client that closes its side (even only for writing) before the response has ended is taken to be gone, as nginx and
//! Go take it, so that a model stops thinking for nobody. Informational responses other than 100 and 101 are not passed
//! on. CONNECT and TRACE are refused.
//!
//! Clients speak HTTP/1 or HTTP/2, and so do workers' backends; any pair goes, and what differs is translated
//! ([`translate`]). A tunnel of HTTP/1 carries one request at a time, one of HTTP/2 many ([`trunk`]).

mod answer;
mod download;
mod exchange;
mod fault;
mod form;
mod forward;
mod framing;
mod gauge;
mod headers;
mod hedge;
mod http2;
mod inspect;
mod intake;
mod lane;
mod objection;
mod pool;
mod server;
mod streams;
mod translate;
mod trunk;
mod upgrade;
mod upload;
mod wire;

use bytes::Bytes;
use http_body_util::{Either, Full};

pub(super) use http2::serve as serve_http2;
pub(super) use pool::Pool;
pub(super) use server::serve;

/// Bytes in the head of a response at most, as nginx allows for large ones.
const HEAD_LIMIT: usize = 32 * 1024;

/// Header fields in the head of a response at most.
const FIELDS_LIMIT: usize = 100;

/// Bytes that hyper buffers per direction of a connection at most. Room for one head beyond the limit, so that it can be
/// told from a good one, and for writes worth making.
const BUFFER_LIMIT: usize = 64 * 1024;

/// A response on its way to a client: a worker's, or an answer of our own.
type Body = Either<download::Download, Full<Bytes>>;
