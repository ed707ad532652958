//! Asking a backend whether it is well, and what to make of the answers.
//!
//! [`probe`] asks once. [`Pulse`] decides, without a clock: a backend is offered after one good answer, and withdrawn after
//! [`PATIENCE`] bad ones in a row, or at once when nobody listens. While it is well it is asked every [`CALM`]; while it
//! is not, sooner and then less and less often, so that a restarted backend is back within a moment.

use std::time::Duration;

use tokio::time::timeout;

use super::{
    Health, Target,
    ask::{self, AskError},
    backend::{Backend, ConnectError},
};

/// Between two probes of a backend that is well.
pub(super) const CALM: Duration = Duration::from_secs(2);

/// After the first bad answer; doubled with each further one, up to [`CALM`].
pub(super) const HASTE: Duration = Duration::from_millis(250);

/// Bad answers in a row that withdraw a backend. One may be a hiccup.
const PATIENCE: u32 = 2;

/// How long one probe may take, from connecting to the end of the answer. A backend that is slower is of no use.
const LIMIT: Duration = Duration::from_secs(3);

/// Bytes of an answer's body that are read. The rest is not waited for: the status has said it.
const MAX_BODY: usize = 64 * 1024;

/// Why a backend is not well.
#[derive(Clone, Debug, thiserror::Error)]
pub(super) enum Ailment {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("GET {path} was answered with {status}")]
    Status { path: String, status: u16 },
    #[error("GET {path} was not answered: {why}")]
    Http { path: String, why: String },
    #[error("no answer within {} s", LIMIT.as_secs())]
    Timeout,
}

impl Ailment {
    /// Nobody listens. That is no hiccup.
    fn is_certain(&self) -> bool {
        matches!(self, Self::Connect(error) if error.is_refused)
    }
}

/// Asks once, within [`LIMIT`].
pub(super) async fn probe(target: &Target, health: &Health) -> Result<(), Ailment> {
    let work = async {
        match health {
            Health::Off => Ok(()),
            Health::Tcp => Ok(Backend::connect(target, LIMIT).await.map(drop)?),
            Health::Path(path) => {
                let status = get(target, path).await?;
                match status {
                    200..400 => Ok(()),
                    _ => Err(Ailment::Status { path: path.clone(), status }),
                }
            }
        }
    };
    timeout(LIMIT, work).await.unwrap_or(Err(Ailment::Timeout))
}

/// The status that `GET path` is answered with.
async fn get(target: &Target, path: &str) -> Result<u16, Ailment> {
    match ask::get(target, path, MAX_BODY, LIMIT).await {
        Ok(answer) => Ok(answer.status),
        Err(AskError::Connect(error)) => Err(error.into()),
        Err(AskError::Http(why)) => Err(Ailment::Http { path: path.to_owned(), why }),
    }
}

/// What the answers so far amount to.
#[derive(Clone, Debug)]
pub(super) struct Pulse {
    is_well: bool,
    /// Bad answers since the last good one.
    failures: u32,
}

impl Pulse {
    pub(super) fn new(is_well: bool) -> Self {
        Self { is_well, failures: 0 }
    }

    /// Takes one answer in, and says whether the backend is to be offered.
    pub(super) fn heed(&mut self, answer: &Result<(), Ailment>) -> bool {
        match answer {
            Ok(()) => {
                self.failures = 0;
                self.is_well = true;
            }
            Err(ailment) => {
                self.failures = self.failures.saturating_add(1);
                self.is_well &= self.failures < PATIENCE && !ailment.is_certain();
            }
        }
        self.is_well
    }

    /// How long until the next probe.
    pub(super) fn pause(&self) -> Duration {
        match self.failures.checked_sub(1) {
            None => CALM,
            Some(doublings) => HASTE.saturating_mul(1 << doublings.min(8)).min(CALM),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::{TcpListener, TcpSocket},
    };

    use super::*;

    fn bad() -> Result<(), Ailment> {
        Err(Ailment::Timeout)
    }

    async fn refused() -> Result<(), Ailment> {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        probe(&socket.local_addr().unwrap().to_string().parse().unwrap(), &Health::Tcp).await
    }

    #[tokio::test]
    async fn one_good_answer_offers_and_two_bad_ones_or_a_refusal_withdraw() {
        let mut pulse = Pulse::new(false);
        assert!(!pulse.heed(&bad()));
        assert!(pulse.heed(&Ok(())));
        assert!(pulse.heed(&bad()));
        assert!(pulse.heed(&Ok(())), "a good answer forgives");
        assert!(pulse.heed(&bad()));
        assert!(!pulse.heed(&bad()));
        assert!(pulse.heed(&Ok(())));
        assert!(!pulse.heed(&refused().await));
    }

    #[test]
    fn probes_come_fast_at_first_and_then_calm_down() {
        let mut pulse = Pulse::new(true);
        assert_eq!(pulse.pause(), CALM);
        let mut pauses = Vec::new();
        for _ in 0..100 {
            pulse.heed(&bad());
            pauses.push(pulse.pause().as_millis());
        }
        assert_eq!(pauses[..5], [250, 500, 1000, 2000, 2000]);
        assert_eq!(pauses[99], 2000);
    }

    /// Answers one connection with `answer`, and returns what was asked.
    async fn ask(path: &str, answer: &'static str, hang_up: bool) -> (Result<(), Ailment>, String) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string().parse().unwrap();
        let server = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let mut asked = vec![0; 4096];
            let n = tcp.read(&mut asked).await.unwrap();
            tcp.write_all(answer.as_bytes()).await.unwrap();
            if !hang_up {
                let _ = tcp.read(&mut [0; 1]).await;
            }
            String::from_utf8_lossy(&asked[..n]).into_owned()
        };
        let health = Health::Path(path.to_owned());
        tokio::join!(probe(&target, &health), server)
    }

    #[tokio::test]
    async fn a_status_of_two_or_three_hundred_is_well_and_others_are_not() {
        for (answer, well) in [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
            ("HTTP/1.1 204 No Content\r\n\r\n", true),
            ("HTTP/1.0 302 Found\r\nLocation: /\r\n\r\n", true),
            ("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", false),
            ("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", false),
            ("SSH-2.0-OpenSSH_9.2\r\n", false),
            ("", false),
        ] {
            let (result, _) = ask("/", answer, true).await;
            assert_eq!(result.is_ok(), well, "{answer:?}: {result:?}");
        }
    }

    #[tokio::test]
    async fn the_request_names_path_and_host_and_the_backend_need_not_hang_up() {
        let (result, asked) = ask("/healthz?x=1", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false).await;
        assert!(result.is_ok(), "{result:?}");
        let asked = asked.to_lowercase();
        assert!(asked.starts_with("get /healthz?x=1 http/1.1\r\n"), "{asked}");
        assert!(asked.contains("\r\nhost: 127.0.0.1:") && asked.contains("\r\nconnection: close\r\n"), "{asked}");
    }

    #[tokio::test]
    async fn an_endless_head_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap().to_string().parse().unwrap();
        let server = async {
            let (mut tcp, _) = listener.accept().await.unwrap();
            let _ = tcp.write_all(b"HTTP/1.1 200 OK\r\n").await;
            let line = format!("x: {}\r\n", "y".repeat(1000));
            for written in 0.. {
                if tcp.write_all(line.as_bytes()).await.is_err() {
                    return written;
                }
            }
            0
        };
        let health = Health::Path("/".into());
        let (result, _) = tokio::join!(probe(&target, &health), server);
        assert!(matches!(result, Err(Ailment::Http { .. })), "{result:?}");
    }
}
