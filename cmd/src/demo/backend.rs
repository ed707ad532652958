//! The server behind each worker of a demo: it says who answers, after a moment of work.

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use http_body_util::{BodyExt, Full, StreamBody, combinators::BoxBody};
use hyper::{
    Request, Response,
    body::{Frame, Incoming},
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

/// The header that names the worker.
pub(super) const ANSWERED_BY: &str = "x-answered-by";

/// Where the streamed answer lies.
pub(super) const STREAM: &str = "/stream";

/// What the streamed answer says, a chunk each.
pub(super) const WORDS: [&str; 6] = ["every", "word", "arrives", "as", "it", "is said"];

/// Between two chunks: slow enough to be seen.
pub(super) const PAUSE: Duration = Duration::from_millis(150);

/// How long an answer is worked on: long enough that requests overlap and balancing has something to weigh.
const WORK: Duration = Duration::from_millis(10);

/// Connections at once. The demo's own clients are far fewer; whoever tries more waits in the kernel's queue.
const CONNECTIONS: usize = 1024;

/// A running server. Dropped, it is gone with all its connections.
#[derive(Debug)]
pub(super) struct Backend {
    address: SocketAddr,
    /// One task; the set ends it when it is dropped.
    server: JoinSet<()>,
}

impl Backend {
    /// Listens on a free port of the loopback address and answers as `worker`.
    pub(super) async fn bind(worker: &str) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let who = Arc::new(Who { name: worker.to_owned(), header: HeaderValue::try_from(worker).ok() });
        let mut server = JoinSet::new();
        server.spawn(serve(listener, who));
        Ok(Self { address, server })
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and every connection, mid-answer or not.
    pub(super) async fn kill(mut self) {
        self.server.shutdown().await;
    }
}

#[derive(Debug)]
struct Who {
    name: String,
    header: Option<HeaderValue>,
}

async fn serve(listener: TcpListener, who: Arc<Who>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_) = connections.join_next() => {}
            // An error of accept(2) is the client's, or a lack of descriptors that passes; either way the next may succeed.
            Ok((connection, _)) = listener.accept(), if connections.len() < CONNECTIONS => {
                connections.spawn(converse(connection, Arc::clone(&who)));
            }
        }
    }
}

async fn converse(connection: TcpStream, who: Arc<Who>) {
    let answer = service_fn(move |request| answer(request, Arc::clone(&who)));
    // A client that goes away is no news.
    let _ = http1::Builder::new().serve_connection(TokioIo::new(connection), answer).await;
}

async fn answer(request: Request<Incoming>, who: Arc<Who>) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
    let mut response = match request.uri().path() {
        STREAM => {
            let mut response = Response::new(BodyExt::boxed(words()));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        path => {
            tokio::time::sleep(WORK).await;
            let text = format!("{} answers {} {path}\n", who.name, request.method());
            let mut response = Response::new(BodyExt::boxed(Full::from(text)));
            response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            response
        }
    };
    if let Some(header) = &who.header {
        response.headers_mut().insert(ANSWERED_BY, header.clone());
    }
    Ok(response)
}

/// Server-sent events, one per word, with a pause before each but the first.
fn words() -> StreamBody<impl Stream<Item = Result<Frame<Bytes>, Infallible>>> {
    StreamBody::new(stream::iter(WORDS).enumerate().then(async |(number, word)| {
        if number > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        Ok(Frame::data(Bytes::from(format!("data: {word}\n\n"))))
    }))
}

#[cfg(test)]
mod tests {
    use super::{super::client, *};

    #[tokio::test]
    async fn says_who_it_is() {
        let backend = Backend::bind("demo-1").await.unwrap();
        let answer = client::get(backend.address()).await.unwrap();
        assert_eq!(answer.worker, "demo-1");
        assert!(answer.took >= WORK);
    }

    #[tokio::test]
    async fn streams_word_by_word() {
        let backend = Backend::bind("demo-1").await.unwrap();
        let mut heard = Vec::new();
        let worker =
            client::listen(backend.address(), |after, text| heard.push((after, text.to_owned()))).await.unwrap();
        assert_eq!(worker, "demo-1");
        assert_eq!(heard.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>(), WORDS);
        assert!(heard.last().unwrap().0 >= PAUSE * (WORDS.len() as u32 - 1));
    }

    #[tokio::test]
    async fn a_killed_backend_cuts_its_answers_off_and_refuses_the_next() {
        let backend = Backend::bind("demo-1").await.unwrap();
        let address = backend.address();
        let (said, first_word) = tokio::sync::oneshot::channel();
        let mut said = Some(said);
        let listener = client::listen(address, |_, _| {
            if let Some(said) = said.take() {
                said.send(()).unwrap();
            }
        });
        let (heard, ()) = tokio::join!(listener, async {
            first_word.await.unwrap();
            backend.kill().await;
        });
        assert!(heard.is_err());
        assert!(client::get(address).await.is_err());
    }
}
