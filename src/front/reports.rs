//! How busy the workers are, from their own mouths.
//!
//! Each [report](crate::tunnel::Load) goes to the balancer, wherever it comes from: with the verdict on a tunnel, between the
//! bytes of one, or over a **subscription**, a tunnel of class [`Class::Load`] that carries nothing else. There is one to
//! each connected worker of the table. It tells what other fronts do there, and that a slot is free again.
//!
//! A worker that has no subscription to give (it is of an earlier version, or has too many) is balanced by the rest.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use rand::RngExt;
use tokio::{
    io::AsyncReadExt,
    sync::Notify,
    task::{AbortHandle, JoinSet},
    time::{sleep, timeout},
};

use super::handle::Shared;
use crate::{
    balance::State,
    ledger::NodeId,
    tunnel::{Class, Early, Header, ReportSink, TraceId, Tunnel, TunnelStream},
};

/// Subscriptions of one front at most; the workers beyond are balanced by the reports on verdicts and responses.
const SUBSCRIPTIONS_MAX: usize = 1024;

/// How long a worker may say nothing: three times as long as one that rests does, so that it is gone or not able.
const SILENCE: Duration = Duration::from_secs(45);

/// First and longest pause before a subscription is opened again. A worker that gives none is not to be bothered; one that
/// comes back on another connection is asked at once.
const PAUSE: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(60));

impl Shared {
    /// Takes the reports that come with `tunnel`, from the one in the verdict on.
    pub(super) fn listen(&self, node: NodeId, tunnel: &mut Tunnel) {
        let sink = self.sink(node);
        sink(tunnel.load);
        tunnel.stream.on_report(sink);
    }

    /// Not the front itself, which holds the tunnels.
    fn sink(&self, node: NodeId) -> ReportSink {
        let (balancer, origin) = (self.balancer.clone(), self.origin);
        Arc::new(move |load| balancer.report(origin.elapsed(), node, load))
    }
}

/// Keeps a subscription to each connected worker of the table. It does not end; dropping it ends them all.
pub(super) async fn follow(shared: Arc<Shared>) {
    let mut open: BTreeMap<NodeId, (Option<u64>, AbortHandle)> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    loop {
        // Before the look at the table, so that no change is missed.
        let mut changed = pin!(shared.reconciled.notified());
        changed.as_mut().enable();
        reconcile(&shared, &mut open, &mut tasks);
        tokio::select! {
            () = changed => {}
            Some(ended) = tasks.join_next() => super::listener::pass_on(ended),
        }
    }
}

fn reconcile(shared: &Arc<Shared>, open: &mut BTreeMap<NodeId, (Option<u64>, AbortHandle)>, tasks: &mut JoinSet<()>) {
    let now = shared.now();
    let mut wanted: BTreeMap<NodeId, Option<u64>> = BTreeMap::new();
    for endpoint in shared.balancer.endpoints(now) {
        if endpoint.connected && endpoint.state != State::Draining && wanted.len() < SUBSCRIPTIONS_MAX {
            // One that is left out for a while has no way, and keeps the subscription that it has.
            let known = open.get(&endpoint.node).and_then(|(way, _)| *way);
            wanted.insert(endpoint.node, shared.balancer.way_to(now, endpoint.node).flatten().or(known));
        }
    }
    open.retain(|node, (way, task)| {
        let is_good = wanted.get(node) == Some(way);
        if !is_good {
            task.abort();
        }
        is_good
    });
    for (node, way) in wanted {
        open.entry(node).or_insert_with(|| (way, tasks.spawn(subscribe(Arc::clone(shared), node))));
    }
}

/// Asks `node` for its reports, again and again.
async fn subscribe(shared: Arc<Shared>, node: NodeId) {
    let mut pause = PAUSE.0;
    loop {
        let service = &shared.config.service;
        match open(&shared, node).await {
            Ok(mut tunnel) => {
                pause = PAUSE.0;
                let sink = shared.sink(node);
                sink(tunnel.load);
                let end = hear(&mut tunnel.stream, sink).await;
                tracing::debug!(%service, node = %node.short(), end, "no more reports");
            }
            Err(reason) => tracing::debug!(%service, node = %node.short(), %reason, "no reports"),
        }
        let varied = pause.mul_f64(rand::rng().random_range(0.8..1.2));
        sleep(varied).await;
        pause = (pause * 2).min(PAUSE.1);
    }
}

async fn open(shared: &Shared, node: NodeId) -> Result<Tunnel, String> {
    let header =
        Header { service: shared.config.service.clone(), class: Class::Load, trace: TraceId::random(), client: None };
    let early = Early::default();
    match timeout(shared.config.connect_timeout, shared.dial.dial(node, header, &early)).await {
        Ok(dialled) => dialled.map_err(|error| error.to_string()),
        Err(_) => Err("no verdict in time".to_owned()),
    }
}

/// Takes reports until there are no more. Why there are not.
async fn hear(tunnel: &mut TunnelStream, sink: ReportSink) -> &'static str {
    let heard = Arc::new(Notify::new());
    let told = Arc::clone(&heard);
    tunnel.on_report(Arc::new(move |load| {
        sink(load);
        told.notify_one();
    }));
    let mut nothing = [0; 64];
    // Reports are told of on the way to bytes, and bytes never come.
    let mut end = pin!(async { while tunnel.read(&mut nothing).await.is_ok_and(|read| read > 0) {} });
    loop {
        tokio::select! {
            () = &mut end => return "the tunnel ended",
            heard = timeout(SILENCE, heard.notified()) => {
                if heard.is_err() {
                    return "the worker is silent";
                }
            }
        }
    }
}
