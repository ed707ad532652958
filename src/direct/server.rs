//! The worker's side: answers the door, and serves one tunnel after another on each connection.

use std::{
    future::Future,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use libp2p::Multiaddr;
use rustls::ServerConfig;
use tokio::{
    io::AsyncReadExt,
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
    task::JoinSet,
    time::timeout,
};
use tokio_util::{compat::FuturesAsyncReadCompatExt, sync::CancellationToken};

use super::{
    address,
    certificate::{Certificate, Fingerprint},
    handshake,
    knock::{self, Knock},
    socket,
    stream::TlsStream,
    ticket::{Ticket, Tickets},
};
use crate::{
    ledger::NodeId,
    net::{Inbound, Net, Refused, node_of},
    tunnel::{Leftover, Line},
};

/// The knock, and then the handshake, may each take so long. Both are sent with the first packets.
const LIMIT: Duration = Duration::from_secs(5);

/// How long a connection may rest. Longer than a front keeps one, so that it is the front that closes.
const IDLE: Duration = Duration::from_secs(120);

/// Connections at once, those at rest included: as many tunnels as a worker serves, and as many again at rest for a burst.
const CONNECTIONS: usize = 20_000;

/// What every connection shares.
struct Shared<S> {
    tickets: Tickets,
    tls: Arc<ServerConfig>,
    refused: watch::Receiver<Arc<Refused>>,
    serve: S,
}

/// Serves connections and gives tickets until `stop`. `serve` gets the line of each tunnel and who opened it.
pub(super) async fn run<S, F>(
    certificate: &Certificate,
    net: &Net,
    mut knocks: mpsc::Receiver<TcpStream>,
    mut asking: mpsc::Receiver<Inbound>,
    serve: S,
    stop: CancellationToken,
) -> Result<(), rustls::Error>
where
    S: Fn(Line, NodeId) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let own = certificate.fingerprint();
    let (tickets, tls) = (Tickets::default(), Arc::new(certificate.server()?));
    let shared = Arc::new(Shared { tickets, tls, refused: net.refused(), serve });
    let mut tasks = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Some(ended) = tasks.join_next() => {
                if let Err(error) = ended
                    && let Ok(panic) = tokio::task::JoinError::try_into_panic(error)
                {
                    std::panic::resume_unwind(panic);
                }
            }
            Some(inbound) = asking.recv() => {
                let addresses = net.addresses().borrow().clone();
                tasks.spawn(answer(Arc::clone(&shared), own, addresses, inbound));
            }
            // Beyond the bound the socket is dropped, and the front takes another carrier.
            Some(socket) = knocks.recv() => if tasks.len() < CONNECTIONS {
                tasks.spawn(welcome(Arc::clone(&shared), socket));
            },
            else => break,
        }
    }
    tasks.shutdown().await;
    Ok(())
}

/// Gives a ticket to a member that asks.
async fn answer<S>(shared: Arc<Shared<S>>, own: Fingerprint, listening: Vec<Multiaddr>, inbound: Inbound) {
    let Some(node) = node_of(&inbound.peer) else { return };
    let addresses =
        listening.iter().filter(|listening| address::of(listening).is_some()).map(ToString::to_string).collect();
    let vouch = |theirs| shared.tickets.give(Instant::now(), node, theirs, own, addresses);
    let answered = timeout(LIMIT, Ticket::answer(inbound.stream.compat(), vouch)).await;
    if let Ok(Err(error)) = answered {
        tracing::debug!(node = node.short(), %error, "ticket not given");
    }
}

/// One connection, from its knock to its end. A stranger gets no byte.
async fn welcome<S, F>(shared: Arc<Shared<S>>, mut socket: TcpStream)
where
    S: Fn(Line, NodeId) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let mut said = [0; knock::LENGTH];
    let Ok(Ok(_)) = timeout(LIMIT, socket.read_exact(&mut said)).await else { return };
    let admitted = Knock::decode(&said).and_then(|knock| shared.tickets.admit(Instant::now(), &knock));
    let Some((node, fingerprint)) = admitted else { return };
    if shared.refused.borrow().refuses(&node, Instant::now()) {
        return;
    }
    socket::tune(&socket);
    let shaken = timeout(LIMIT, handshake::server(socket, Arc::clone(&shared.tls), &fingerprint)).await;
    match shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
        Ok(stream) => tokio::select! {
            biased;
            () = refusal(shared.refused.clone(), node) => {
                tracing::debug!(node = node.short(), "direct connection of a refused member cut");
            }
            () = serve_all(&shared, Box::new(stream), node) => {}
        },
        Err(error) => tracing::debug!(node = node.short(), %error, "direct connection not made"),
    }
}

/// Returns when `node` is refused.
async fn refusal(mut refused: watch::Receiver<Arc<Refused>>, node: NodeId) {
    if refused.wait_for(|refused| refused.refuses(&node, Instant::now())).await.is_err() {
        // The network has ended; tunnels end in their own time.
        std::future::pending().await
    }
}

/// One tunnel after another, until the front closes the connection or it breaks.
async fn serve_all<S, F>(shared: &Shared<S>, mut stream: Box<TlsStream>, node: NodeId)
where
    S: Fn(Line, NodeId) -> F,
    F: Future<Output = ()>,
{
    while let Ok(Ok(true)) = timeout(IDLE, std::future::poll_fn(|cx| stream.poll_readable(cx))).await {
        let (home, back) = oneshot::channel::<Leftover>();
        // Nobody waits any more if this task was ended.
        let line = Line::lent(stream, Box::new(move |leftover| drop(home.send(leftover))));
        (shared.serve)(line, node).await;
        let Ok(leftover) = back.await else { return };
        let settled = match leftover.clean() {
            Ok(carrier) => Some(carrier),
            Err(leftover) => leftover.settle().await,
        };
        match settled.and_then(|carrier| carrier.into_any().downcast().ok()) {
            Some(same) => stream = same,
            None => return,
        }
    }
}
