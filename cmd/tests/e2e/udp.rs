//! Services of datagrams.

use std::{net::SocketAddr, process::Stdio};

use rustix::process::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UdpSocket,
};

use crate::{
    machine,
    network::Network,
    node::{Node, Plan},
    process::{Process, command, installed},
    python::script,
    soon, until,
};

/// What IPv4 leaves of 65 535 bytes.
const MAX_DATAGRAM: usize = 65_507;

/// Sends back what it gets; to `who` its name.
struct Echo {
    address: SocketAddr,
    answering: tokio::task::JoinHandle<()>,
}

impl Echo {
    async fn start(name: &'static str) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let answering = tokio::spawn(async move {
            let mut room = vec![0; MAX_DATAGRAM];
            while let Ok((length, client)) = socket.recv_from(&mut room).await {
                let answer = if &room[..length] == b"who" { name.as_bytes() } else { &room[..length] };
                socket.send_to(answer, client).await.unwrap();
            }
        });
        Self { address, answering }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.answering.abort();
    }
}

struct Client(UdpSocket);

impl Client {
    async fn of(front: SocketAddr) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(front).await.unwrap();
        Self(socket)
    }

    /// The first answer. Asked once: nothing is lost on this machine.
    async fn ask(&self, datagram: &[u8]) -> Vec<u8> {
        self.0.send(datagram).await.unwrap();
        let mut room = vec![0; MAX_DATAGRAM];
        let length = soon("an answer", self.0.recv(&mut room)).await.unwrap();
        room.truncate(length);
        room
    }

    async fn who(&self) -> String {
        String::from_utf8(self.ask(b"who").await).unwrap()
    }
}

async fn front(network: &Network, args: &[&str]) -> Node {
    let plan = Plan::serve("front").arg("--mode=udp");
    network.start(args.iter().fold(plan, |plan, arg| plan.arg(arg))).await
}

async fn worker(network: &Network, name: &str, backend: SocketAddr, front: &Node) -> Node {
    let worker = network.start(Plan::expose(name, format_args!("udp://{backend}")).join(front.peer())).await;
    front.has_available(name).await;
    worker
}

/// How many datagrams a front dropped for `reason`.
async fn dropped(front: &Node, reason: &str) -> u64 {
    front.status().await.fronts[0].datagrams_dropped.get(reason).copied().unwrap_or(0)
}

#[tokio::test]
async fn a_client_stays_with_its_worker_and_gets_another_one_when_that_is_killed() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let echoes = [Echo::start("w1").await, Echo::start("w2").await];
    let front = front(&network, &["--policy=sticky", "--udp-idle-timeout=300ms"]).await;
    let address = front.front().await;
    let mut workers = Vec::new();
    for (name, echo) in ["w1", "w2"].into_iter().zip(&echoes) {
        workers.push(worker(&network, name, echo.address, &front).await);
    }
    front.has_ready(&["w1", "w2"]).await;
    let client = Client::of(address).await;
    let first = client.who().await;
    for _ in 0..20 {
        assert_eq!(client.who().await, first);
    }
    // By the client's address, not its port; and one at a time, as no worker gets much more than its share.
    for _ in 0..3 {
        let rests = async || (front.status().await.fronts[0].in_flight == 0).then_some(());
        until("the session to end", rests).await;
        assert_eq!(Client::of(address).await.who().await, first);
    }

    let dies = workers.iter().position(|worker| worker.name == first).unwrap();
    workers.remove(dies).kill().await;
    front.lacks(&first).await;
    let other = until("another worker to answer", async || {
        client.0.send(b"who").await.unwrap();
        let mut room = [0; 16];
        let answer = tokio::time::timeout(std::time::Duration::from_secs(1), client.0.recv(&mut room)).await.ok()?;
        Some(String::from_utf8(room[..answer.unwrap()].to_vec()).unwrap())
    })
    .await;
    assert_eq!(other, workers[0].name);
}

#[tokio::test]
async fn datagrams_up_to_the_largest_come_back_whole() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let echo = Echo::start("w1").await;
    let front = front(&network, &[]).await;
    let _worker = worker(&network, "w1", echo.address, &front).await;
    let client = Client::of(front.front().await).await;
    for length in [0, 1, 512, 1472, 1473, 8192, 65_000, MAX_DATAGRAM] {
        let datagram: Vec<u8> = (0..length).map(|at| (at * 31 + length) as u8).collect();
        assert!(client.ask(&datagram).await == datagram, "{length} bytes came back as others");
    }
    let front = front.status().await.fronts.remove(0);
    assert!(front.datagrams_dropped.is_empty(), "{:?}", front.datagrams_dropped);
}

#[tokio::test]
async fn what_is_dropped_is_counted_and_a_mode_that_fits_nobody_is_told() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let echo = Echo::start("w1").await;
    let front = front(&network, &["--max-client-connections=1"]).await;
    let address = front.front().await;
    let unserved = Client::of(address).await;
    unserved.0.send(b"who").await.unwrap();
    until("a datagram without a worker to be counted", async || (dropped(&front, "worker").await == 1).then_some(()))
        .await;

    // Bytes first: an export of the same name that takes no datagrams.
    let bytes = Plan::expose("bytes", format_args!("tcp://{}", echo.address)).arg("--health=off").join(front.peer());
    let bytes = network.start(bytes).await;
    front.process.logs("no worker takes datagrams").await;
    until("the misfit to be told", async || front.status().await.fronts[0].mode_fault.clone()).await;
    bytes.terminate().await;

    let _worker = worker(&network, "w1", echo.address, &front).await;
    until("the misfit to be over", async || front.status().await.fronts[0].mode_fault.is_none().then_some(())).await;
    let first = Client::of(address).await;
    assert_eq!(first.who().await, "w1");
    unserved.0.send(b"who").await.unwrap();
    until("the second of one client to be counted", async || (dropped(&front, "client").await == 1).then_some(()))
        .await;
    let page = front.host.run(["status", "--node", &front.socket().display().to_string()]).await.stdout;
    let row = |mark: &str| page.lines().find(|line| line.contains(mark)).unwrap().trim_end().to_owned();
    assert!(row("QUEUED").ends_with("DROPPED") && row(&address.to_string()).ends_with(" 2"), "{page}");
}

#[tokio::test]
async fn a_drain_carries_the_datagrams_of_those_that_are_served() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let echo = Echo::start("w1").await;
    let front = front(&network, &["--drain-timeout=1h"]).await;
    let _worker = worker(&network, "w1", echo.address, &front).await;
    let address = front.front().await;
    let client = Client::of(address).await;
    assert_eq!(client.who().await, "w1");
    front.process.signal(Signal::TERM);
    until("the front to refuse new clients", async || {
        Client::of(address).await.0.send(b"x").await.unwrap();
        (dropped(&front, "draining").await > 0).then_some(())
    })
    .await;
    assert_eq!(client.who().await, "w1");
    // Its client is silent from here on, and nothing else is waited for.
    assert_eq!(front.process.exit().await.code, Some(0));
}

/// A server of Python's own, and netcat.
#[tokio::test]
async fn a_foreign_client_and_a_foreign_server_understand_each_other() {
    let _machine = machine::shared().await;
    let network = Network::new().await;
    let server = Process::spawn("udp_server.py", &mut script("udp_server.py"));
    let port: u16 = server.says("port ").await.trim_start_matches("port ").parse().unwrap();
    let front = front(&network, &[]).await;
    let _worker = worker(&network, "w1", ([127, 0, 0, 1], port).into(), &front).await;
    let to = front.front().await.port().to_string();
    let mut netcat = command(installed("nc"));
    netcat.args(["-u", "-w", "1", "127.0.0.1", &to]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut netcat = netcat.kill_on_drop(true).spawn().unwrap();
    netcat.stdin.as_mut().unwrap().write_all(b"hello").await.unwrap();
    let mut answer = [0; 5];
    let mut stdout = netcat.stdout.take().unwrap();
    soon("an answer", stdout.read_exact(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"HELLO");
}
