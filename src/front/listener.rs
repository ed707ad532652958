//! The socket that clients connect to, and the tasks that serve them.

use std::{io, net::SocketAddr, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream, UdpSocket},
    sync::{OwnedSemaphorePermit, Semaphore},
    task::{JoinError, JoinSet},
    time::{MissedTickBehavior, interval, sleep, timeout},
};

use super::{
    Config, Mode,
    client::{self, Client},
    crowd::{Crowd, Place},
    detect::{Speech, detect, detect_http},
    handle::Shared,
    http, reports,
    socket::Socket,
    tcp,
    tls::{Accepted, Agreed},
    udp,
};
use crate::{certificate::CertificateError, proxy_protocol};

/// Connections that the kernel completes before we accept them: a burst of this size is not refused while all permits
/// are taken for a moment.
const BACKLOG: u32 = 1024;

/// How long a client may say nothing before its server is given the word. Longer than most round trips, shorter than a
/// person notices.
const SILENCE: Duration = Duration::from_millis(300);

/// How long whoever is in front of us may take to say for whom it connects. It says that first, and in one segment.
const PROXY_LIMIT: Duration = Duration::from_secs(3);

/// First and longest pause after a failed accept. Usually the process is out of file descriptors, which a moment mends and
/// a busy loop does not.
pub(super) const ACCEPT_PAUSE: (Duration, Duration) = (Duration::from_millis(5), Duration::from_secs(1));

/// How often idle tunnels are looked through; they live six times as long.
pub(super) const SWEEP: Duration = Duration::from_secs(5);

/// How long connections may take to notice that they are cut off. They do nothing but drop what they hold.
const CUT: Duration = Duration::from_secs(1);

/// Why a front could not be bound.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Another socket has the address.
    #[error(
        "cannot listen on {address} for service {service}: the address is in use; choose another with {service}@HOST:PORT"
    )]
    InUse {
        /// Where it was meant to listen.
        address: SocketAddr,
        /// The service it was meant to balance.
        service: String,
    },
    /// The system refused.
    #[error("cannot listen on {address} for service {service}: {source}")]
    Bind {
        /// Where it was meant to listen.
        address: SocketAddr,
        /// The service it was meant to balance.
        service: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Its certificate can't be used.
    #[error("cannot speak TLS for service {service}: {source}")]
    Certificate {
        /// The service it was meant to balance.
        service: String,
        /// Why.
        #[source]
        source: CertificateError,
    },
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Everything in flight came to its own end.
    Drained,
    /// The deadline passed.
    CutOff {
        /// Client connections that were cut off.
        connections: usize,
    },
}

/// A bound listener whose clients are served by [`Listener::run`].
pub struct Listener {
    /// Closed when a drain begins.
    door: Option<Door>,
    shared: Arc<Shared>,
}

/// Where clients come in.
pub(super) enum Door {
    Tcp(TcpListener),
    Udp(Arc<UdpSocket>),
}

impl Listener {
    pub(super) fn bind(config: &Config) -> Result<(Door, SocketAddr), Error> {
        let bind = || {
            if config.mode == Mode::Udp {
                let socket = std::net::UdpSocket::bind(config.listen)?;
                socket.set_nonblocking(true)?;
                let address = socket.local_addr()?;
                return Ok((Door::Udp(Arc::new(UdpSocket::from_std(socket)?)), address));
            }
            let socket = if config.listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
            // A restart must not wait for connections of the last run to time out. (It steals no port on Unix.)
            socket.set_reuseaddr(true)?;
            client::tune(&socket);
            socket.bind(config.listen)?;
            let tcp = socket.listen(BACKLOG)?;
            let address = tcp.local_addr()?;
            Ok((Door::Tcp(tcp), address))
        };
        bind().map_err(|source: io::Error| {
            let (address, service) = (config.listen, config.service.clone());
            match source.kind() {
                io::ErrorKind::AddrInUse => Error::InUse { address, service },
                _ => Error::Bind { address, service, source },
            }
        })
    }

    pub(super) fn new(door: Door, shared: Arc<Shared>) -> Self {
        Self { door: Some(door), shared }
    }

    /// Serves clients until [`Front::drain`](super::Front::drain), then ends as told there. Dropping the future cuts off
    /// everything at once. A panic of a connection's task is passed on.
    pub async fn run(mut self) -> End {
        let shared = Arc::clone(&self.shared);
        let mut clients = JoinSet::new();
        let mut reports = JoinSet::new();
        reports.spawn(reports::follow(Arc::clone(&shared)));
        match &self.door {
            Some(Door::Tcp(tcp)) => accept(&shared, tcp, &mut clients).await,
            Some(Door::Udp(socket)) => udp::receive(&shared, socket, &mut clients).await,
            None => {}
        }
        // Closed first, so that new clients are refused rather than kept waiting.
        self.door = None;
        let end = finish(&shared, &mut clients).await;
        shared.pool.close().await;
        reports.abort_all();
        while let Some(ended) = reports.join_next().await {
            pass_on(ended);
        }
        match end {
            End::Drained => tracing::info!(service = %shared.config.service, on = %shared.address, "drained"),
            End::CutOff { connections } => {
                tracing::warn!(service = %shared.config.service, on = %shared.address, connections, "cut off");
            }
        }
        shared.ended.send_replace(Some(end));
        end
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // Dropped before its end: whoever waits for a drain must not wait for ever.
        self.shared.ended.send_if_modified(|ended| {
            let early = ended.is_none();
            ended.get_or_insert(End::CutOff { connections: self.shared.in_flight() });
            early
        });
    }
}

/// Accepts until a drain begins.
async fn accept(shared: &Arc<Shared>, tcp: &TcpListener, clients: &mut JoinSet<()>) {
    let permits = Arc::new(Semaphore::new(shared.config.max_connections.min(Semaphore::MAX_PERMITS)));
    let mut draining = pin!(shared.draining());
    let mut sweep = interval(SWEEP);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut pause = ACCEPT_PAUSE.0;
    let mut following = pin!(async {
        match &shared.tls {
            Some(tls) => Arc::clone(tls).follow().await,
            None => std::future::pending().await,
        }
    });
    loop {
        let accepted = tokio::select! {
            biased;
            () = draining.as_mut() => return,
            Some(ended) = clients.join_next() => {
                pass_on(ended);
                continue;
            }
            _ = sweep.tick() => {
                shared.sweep();
                continue;
            }
            // It never ends while the runtime lives.
            () = following.as_mut() => return,
            accepted = next(tcp, &permits) => accepted,
        };
        match accepted {
            Ok((stream, address, permit)) => {
                pause = ACCEPT_PAUSE.0;
                let shared = Arc::clone(shared);
                clients.spawn(async move {
                    serve(&shared, stream, address).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!(service = %shared.config.service, on = %shared.address, %error, "accepting failed");
                tokio::select! {
                    () = draining.as_mut() => return,
                    () = sleep(pause) => {}
                }
                pause = (pause * 2).min(ACCEPT_PAUSE.1);
            }
        }
    }
}

/// The next client, once there is a permit for it.
async fn next(
    tcp: &TcpListener,
    permits: &Arc<Semaphore>,
) -> io::Result<(TcpStream, SocketAddr, OwnedSemaphorePermit)> {
    let permit = Arc::clone(permits).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, address) = tcp.accept().await?;
    Ok((stream, address, permit))
}

/// Waits for the clients that are left, up to the deadline, and cuts off the rest.
async fn finish(shared: &Shared, clients: &mut JoinSet<()>) -> End {
    let mut overdue = pin!(shared.overdue());
    loop {
        tokio::select! {
            ended = clients.join_next() => match ended {
                Some(ended) => pass_on(ended),
                None => return End::Drained,
            },
            () = overdue.as_mut() => break,
        }
    }
    // What ended in this very moment was not cut off.
    while let Some(ended) = clients.try_join_next() {
        pass_on(ended);
    }
    let connections = clients.len();
    shared.cut.cancel();
    let all_ended = async {
        while let Some(ended) = clients.join_next().await {
            pass_on(ended);
        }
    };
    if timeout(CUT, all_ended).await.is_err() {
        clients.shutdown().await;
    }
    if connections == 0 { End::Drained } else { End::CutOff { connections } }
}

/// One client, from its first byte to its last.
async fn serve(shared: &Arc<Shared>, tcp: TcpStream, address: SocketAddr) {
    // A token of its own: thousands that wait on one contend for its lock.
    let cut = shared.cut.child_token();
    let met = tokio::select! {
        biased;
        met = meet(shared, tcp, address) => met,
        // Nothing of it is in flight yet.
        () = shared.draining() => return,
    };
    let Ok(Met { client, speech, _place }) = met.inspect_err(|error| {
        tracing::debug!(service = %shared.config.service, client = %address, %error, "client not served");
    }) else {
        return;
    };
    match speech {
        Speech::Http1 => http::serve(shared, client, &cut).await,
        Speech::Http2 => http::serve_http2(shared, client, &cut).await,
        Speech::Opaque => tcp::serve(shared, client, &cut).await,
    }
}

/// A client of which we know who it is and what it speaks.
struct Met {
    client: Client,
    speech: Speech,
    /// Held to the end.
    _place: Option<Place>,
}

/// Everything before the first byte that is meant for a worker.
async fn meet(shared: &Shared, mut tcp: TcpStream, mut address: SocketAddr) -> io::Result<Met> {
    let limits = &shared.config.limits;
    let (mut local, mut ahead) = (None, Bytes::new());
    if shared.config.proxy_protocol {
        let read = timeout(PROXY_LIMIT, proxy_protocol::read(&mut tcp)).await;
        let (header, rest) = read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        if let Some((source, destination)) = header.addresses {
            (address, local) = (source, Some(destination));
        }
        ahead = rest;
    }
    let place = match limits.connections_per_client {
        0 => None,
        limit => Some(Crowd::enter(&shared.crowd, address.ip(), limit).ok_or(io::ErrorKind::QuotaExceeded)?),
    };
    let (mut client, agreed) = match &shared.tls {
        Some(tls) => {
            let Accepted { socket, protocol } = tls.accept(ahead, tcp, limits.head_timeout).await?;
            (Client::over(socket, address, local), protocol)
        }
        None => {
            let mut client = Client::over(Socket::Plain(tcp), address, local);
            client.replay(ahead);
            (client, None)
        }
    };
    let mode = if agreed.is_some() { Mode::Http } else { shared.config.mode };
    let speech = match mode {
        Mode::Tcp | Mode::Udp => Speech::Opaque,
        Mode::Http | Mode::Auto => {
            let (speech, ahead) = if mode == Mode::Http {
                // As browsers do that connect ahead of need.
                detect_http(&mut client, limits.keep_alive).await?
            } else {
                let silence = if shared.balancer.is_http() { limits.keep_alive } else { SILENCE };
                detect(&mut client, silence).await?
            };
            client.replay(ahead);
            speech
        }
    };
    match (agreed, speech) {
        (Some(Agreed::Http2), Speech::Http1) => Err(io::ErrorKind::InvalidData.into()),
        _ => Ok(Met { client, speech, _place: place }),
    }
}

/// A task's panic is everybody's.
pub(super) fn pass_on(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && let Ok(panic) = error.try_into_panic()
    {
        std::panic::resume_unwind(panic);
    }
}

#[cfg(test)]
mod tests {
    use socket2::SockRef;

    use super::*;

    #[tokio::test]
    async fn clients_inherit_what_was_set_on_the_listener() {
        let (door, address) = Listener::bind(&Config::new("web", ([127, 0, 0, 1], 0).into())).unwrap();
        let Door::Tcp(listener) = door else { unreachable!("it takes connections") };
        let _client = TcpStream::connect(address).await.unwrap();
        let (accepted, _) = listener.accept().await.unwrap();
        assert!(accepted.nodelay().unwrap());
        let socket = SockRef::from(&accepted);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap().as_secs(), 60);
    }
}
