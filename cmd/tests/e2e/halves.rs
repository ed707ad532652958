//! A client that has said all it has to say still wants the answer: half-close is carried both ways.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};

use crate::{
    machine,
    network::Network,
    node::Plan,
    process::{Process, command, installed},
    soon,
};

#[tokio::test]
async fn netcat_gets_its_reply_after_its_end_in_mode_tcp() {
    netcat_gets_its_reply("tcp").await;
}

#[tokio::test]
async fn netcat_gets_its_reply_after_its_end_in_mode_auto() {
    netcat_gets_its_reply("auto").await;
}

async fn netcat_gets_its_reply(mode: &str) {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let front = network.start(Plan::serve("front").arg("--mode").arg(mode)).await;
    let (address, server) = replies_at_the_end().await;
    let _worker = network.start(Plan::expose("w", format_args!("tcp://{address}")).join(front.peer())).await;
    front.has_ready(&["w"]).await;
    let address = front.front().await;

    // The second could still become a request when it ends.
    for text in ["x", "GE", "line one\nline two\n"] {
        let mut shell = command("sh");
        shell.args(["-c", "printf %s \"$1\" | \"$2\" -N 127.0.0.1 \"$3\"", "sh", text]);
        shell.arg(installed("nc")).arg(address.port().to_string());
        let exit = Process::spawn("nc", &mut shell).exit().await;
        assert_eq!((exit.code, exit.stdout), (Some(0), format!("{} bytes: {text}", text.len())), "{}", exit.stderr);
    }

    // The server's end does not end what the client still has to say: it is the other half.
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"BYE ").await.unwrap();
    let mut reply = Vec::new();
    soon("the server's end", client.read_to_end(&mut reply)).await.unwrap();
    assert_eq!(reply, b"bye");
    client.write_all(b"one more thing").await.unwrap();
    client.shutdown().await.unwrap();
    let heard = soon("the rest to arrive", server.heard()).await;
    assert_eq!(heard, "BYE one more thing");
}

/// Answers what it was sent once the client has ended; to `BYE ` it says `bye` and ends first, but goes on listening.
struct Replier {
    last: tokio::sync::watch::Receiver<String>,
    task: JoinHandle<()>,
}

impl Replier {
    async fn heard(&self) -> String {
        self.last.clone().wait_for(|text| text.len() > 4 && text.starts_with("BYE ")).await.unwrap().clone()
    }
}

impl Drop for Replier {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn replies_at_the_end() -> (SocketAddr, Replier) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (heard, last) = tokio::sync::watch::channel(String::new());
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let heard = heard.clone();
            connections.spawn(async move {
                // A connection that breaks off is a probe's.
                if let Ok(text) = reply(stream).await {
                    heard.send_replace(text);
                }
            });
        }
    });
    (address, Replier { last, task })
}

async fn reply(mut stream: TcpStream) -> std::io::Result<String> {
    let (mut text, mut buffer) = (Vec::new(), [0; 1024]);
    let mut has_ended = false;
    loop {
        let read = stream.read(&mut buffer).await?;
        text.extend_from_slice(&buffer[..read]);
        let so_far = String::from_utf8_lossy(&text).into_owned();
        if so_far == "BYE " {
            stream.write_all(b"bye").await?;
            stream.shutdown().await?;
            has_ended = true;
        }
        if read == 0 {
            if !has_ended {
                stream.write_all(format!("{} bytes: {so_far}", text.len()).as_bytes()).await?;
                stream.shutdown().await?;
            }
            return Ok(so_far);
        }
    }
}
