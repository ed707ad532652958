//! One client that speaks HTTP/2 (RFC 9113).
//!
//! Its requests take the same way as those of HTTP/1, side by side. What a request does wrong ends its stream and nothing
//! else: a cut body is RST_STREAM, never an end. What the connection does wrong ends all.

use std::{pin::pin, sync::Arc, time::Duration};

use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::{server::Session, streams::Streams};
use crate::front::{
    client::{Client, Reset},
    handle::Shared,
};

/// Bytes of one request's body that may be under way before a worker takes them, and of all of a connection: what Envoy
/// advises for a proxy at the edge, and a bound on what a connection can make us hold.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// Bytes of one response that wait for its client at most.
const SEND_BUFFER: usize = 32 * 1024;

/// Bytes of a frame at most: the least that must be allowed.
const FRAME: u32 = 16 * 1024;

/// Streams that the client opened and reset before we came to them at most ("rapid reset", CVE-2023-44487), and streams
/// that we had to reset because of what the client did; one more ends the connection.
const RESETS_PENDING: usize = 20;
const RESETS_OURS: usize = 128;

/// How often a client is asked whether it is still there, and how long it may take to say so.
const PING: (Duration, Duration) = (Duration::from_secs(20), Duration::from_secs(20));

/// How often streams are looked through for clients that take nothing. Waits end this much later than promised at most.
const LOOK: Duration = Duration::from_secs(1);

/// Serves the requests of `client` until it or a drain ends the connection, or `cut`.
pub(in crate::front) async fn serve(shared: &Arc<Shared>, client: Client, cut: &CancellationToken) {
    let limits = shared.config.limits;
    let reset = client.reset();
    // A stream ends by itself, so that no response resets the connection.
    let session = Arc::new(Session::new(shared, &client, Reset::default()));
    let streams = Streams::default();
    let service = service_fn(|request| {
        let (session, streams) = (Arc::clone(&session), streams.clone());
        async move { session.serve(request).await.map(|response| response.map(|body| streams.watch(body))) }
    });
    let connection = http2::Builder::new(streams.clone())
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX))
        .max_pending_accept_reset_streams(RESETS_PENDING)
        .max_local_error_reset_streams(RESETS_OURS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .max_frame_size(FRAME)
        .keep_alive_interval(PING.0)
        .keep_alive_timeout(PING.1)
        .serve_connection(TokioIo::new(client), service);
    let mut connection = pin!(connection);
    let mut draining = pin!(shared.draining());
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut is_ending = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = draining.as_mut(), if !is_ending => {
                is_ending = true;
                connection.as_mut().graceful_shutdown();
            }
            _ = look.tick() => {
                streams.end_the_stuck(limits.write_timeout);
                if streams.idle_for() >= limits.keep_alive && !is_ending {
                    is_ending = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
            () = cut.cancelled() => return reset.set(),
        }
    };
    if let Err(error) = ended {
        tracing::debug!(service = %shared.config.service, client = %session.client, %error, "client connection ended early");
    }
}
