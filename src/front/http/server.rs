//! One client that speaks HTTP.

use std::{
    net::{IpAddr, SocketAddr},
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use hyper::{HeaderMap, Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    BUFFER_LIMIT, Body,
    answer::Answer,
    form::Form,
    forward::{Abandoned, Forward, Forwarded},
    headers::{Hop, X_REQUEST_ID, forwarded_for},
    objection::{ambiguous, objection},
    upgrade::Bridge,
    wire::{Ambiguous, Patience, Wire},
};
use crate::front::{
    client::{Client, Reset},
    handle::Shared,
};

/// What the requests of one connection share.
pub(super) struct Session {
    pub(super) shared: Arc<Shared>,
    pub(super) client: SocketAddr,
    pub(super) local: Option<SocketAddr>,
    /// Ends the connection with a reset, where that is what a cut response must do.
    pub(super) reset: Reset,
    /// The client's side is encrypted.
    pub(super) is_encrypted: bool,
    ambiguous: Ambiguous,
    requests: AtomicU64,
    /// Set by the last request of a connection, if it changes the protocol; taken when HTTP has ended. Held to move it in
    /// or out.
    bridge: Mutex<Option<Bridge>>,
}

/// Serves the requests of `client` until it or a drain ends the connection, or `cut`.
pub(in crate::front) async fn serve(shared: &Arc<Shared>, client: Client, cut: &CancellationToken) {
    let limits = &shared.config.limits;
    let session = Arc::new(Session::new(shared, &client, client.reset()));
    let wire = Wire::new(client, session.ambiguous.clone(), Patience::of(limits));
    let service = {
        let session = Arc::clone(&session);
        service_fn(move |request| {
            let session = Arc::clone(&session);
            async move { session.serve(request).await }
        })
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.keep_alive)
        .max_buf_size(BUFFER_LIMIT)
        .max_header_size(limits.head_bytes)
        .max_headers(limits.fields)
        .serve_connection(TokioIo::new(wire), service)
        .with_upgrades();
    let mut connection = pin!(connection);
    let mut draining = pin!(shared.draining());
    let mut is_draining = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = draining.as_mut(), if !is_draining => {
                is_draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = cut.cancelled() => return session.reset.set(),
        }
    };
    if let Err(error) = ended {
        tracing::debug!(service = %shared.config.service, client = %session.client, %error, "client connection ended early");
    }
    let bridge = session.bridge.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(bridge) = bridge {
        bridge.run(shared, cut).await;
    }
}

impl Session {
    pub(super) fn new(shared: &Arc<Shared>, client: &Client, reset: Reset) -> Self {
        Self {
            shared: Arc::clone(shared),
            client: client.address(),
            local: client.local_address().ok(),
            reset,
            is_encrypted: client.is_encrypted(),
            ambiguous: Ambiguous::default(),
            requests: AtomicU64::new(0),
            bridge: Mutex::new(None),
        }
    }

    /// The hop that its requests come over.
    pub(super) fn hop(&self) -> Hop {
        let peer = self.client.ip().to_canonical();
        Hop { peer, local: self.local, is_encrypted: self.is_encrypted, is_trusted: self.trusts(peer) }
    }

    /// For whom a request is: its client, or whom that one names if it is trusted.
    pub(super) fn client_of(&self, headers: &HeaderMap) -> SocketAddr {
        if !self.trusts(self.client.ip()) {
            return self.client;
        }
        let named = forwarded_for(headers, |address| self.trusts(address));
        named.map_or(self.client, |address| SocketAddr::new(address, 0))
    }

    fn trusts(&self, address: IpAddr) -> bool {
        self.shared.config.trust_forwarded.iter().any(|network| network.contains(address))
    }

    pub(super) async fn serve(&self, request: Request<Incoming>) -> Result<Response<Body>, Abandoned> {
        let began = Instant::now();
        let counted = self.shared.count();
        let number = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let form = Form::of(&request);
        let limits = &self.shared.config.limits;
        let objection = if self.ambiguous.is(number) { Some(ambiguous()) } else { objection(&request, limits) };
        let mut id = None;
        let Forwarded { result, attempts, node, fields } = match objection {
            Some(answer) => Forwarded::refused(answer),
            None => {
                let forward = Forward::new(self, request);
                id = forward.headers.get(X_REQUEST_ID).cloned();
                forward.run(self, counted).await?
            }
        };
        let mut response = result.unwrap_or_else(|answer: Answer| answer.into_response(form));
        response.headers_mut().extend(fields);
        let id = id.map(|id| response.headers_mut().entry(X_REQUEST_ID).or_insert(id).clone());
        tracing::debug!(
            service = %self.shared.config.service,
            client = %self.client,
            %method,
            path,
            status = response.status().as_u16(),
            node = node.map(|node| node.short()),
            attempts,
            id = id.as_ref().and_then(|id| id.to_str().ok()),
            ms = began.elapsed().as_millis() as u64,
            "request"
        );
        Ok(response)
    }

    pub(super) fn set_bridge(&self, bridge: Bridge) {
        *self.bridge.lock().unwrap_or_else(PoisonError::into_inner) = Some(bridge);
    }
}
