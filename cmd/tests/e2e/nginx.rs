//! nginx, in the foreground and in a folder of its own.

use std::{
    fmt::Display,
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    sync::atomic::{AtomicU16, Ordering},
};

use tempfile::TempDir;

use crate::{
    process::{Process, command, installed},
    until,
};

const CONFIG: &str = include_str!("../../../tests/peers/nginx.conf");
const WEB_CONFIG: &str = include_str!("../../../tests/peers/nginx-web.conf");

/// Below the ports that the system hands out by itself, so that one is still free when nginx starts again.
const FIRST_PORT: u16 = 20_000;

/// Answers `nginx` at `/who`; holds a request for `/held` until the server behind it lets go of it.
pub struct Nginx {
    pub process: Process,
    home: TempDir,
}

impl Nginx {
    /// On a free port of loopback.
    pub async fn on_port(behind: SocketAddr) -> (Self, SocketAddr) {
        let address = free();
        let nginx = Self::start(home(), address, behind).await;
        (nginx, address)
    }

    /// A web server on a free port of loopback, which speaks TLS and passes on what comes.
    pub async fn before(behind: SocketAddr, certificate: &str, key: &str) -> (Self, SocketAddr) {
        let (home, address) = (home(), free());
        let config = WEB_CONFIG.replace("@CERT@", certificate).replace("@KEY@", key);
        let nginx = Self::configured(home, &config, address, behind).await;
        (nginx, address)
    }

    /// On a Unix socket.
    pub async fn on_socket(behind: SocketAddr) -> (Self, PathBuf) {
        let home = home();
        let socket = home.path().join("nginx.sock");
        let nginx = Self::start(home, format!("unix:{}", socket.display()), behind).await;
        (nginx, socket)
    }

    async fn start(home: TempDir, listen: impl Display, behind: SocketAddr) -> Self {
        Self::configured(home, CONFIG, listen, behind).await
    }

    async fn configured(home: TempDir, config: &str, listen: impl Display, behind: SocketAddr) -> Self {
        let folder = home.path().display().to_string();
        let config = config.replace("@LISTEN@", &listen.to_string()).replace("@FOLDER@", &folder);
        let config = config.replace("@BEHIND@", &behind.to_string());
        fs::write(home.path().join("nginx.conf"), config).unwrap();
        Self::run(home).await
    }

    async fn run(home: TempDir) -> Self {
        let mut nginx = command(installed("nginx"));
        nginx.arg("-p").arg(home.path()).args(["-e", "stderr", "-c", "nginx.conf"]);
        let process = Process::spawn("nginx", &mut nginx);
        // It writes its process id when its sockets listen.
        let pid_file = home.path().join("nginx.pid");
        let pid = process.pid().as_raw_nonzero().to_string();
        let is_ready = async || fs::read_to_string(&pid_file).is_ok_and(|text| text.trim() == pid).then_some(());
        until("nginx to listen", is_ready).await;
        Self { process, home }
    }

    /// Stops it; it can be started again at the same address.
    pub async fn stop(self) -> TempDir {
        self.process.signal(rustix::process::Signal::TERM);
        self.process.exit().await;
        self.home
    }

    pub async fn again(home: TempDir) -> Self {
        Self::run(home).await
    }
}

/// nginx can't be told to choose a port, so it is chosen here.
fn free() -> SocketAddr {
    static TRIED: AtomicU16 = AtomicU16::new(0);
    // Test programs that run at the same time begin at different places.
    let first = FIRST_PORT + u16::try_from(std::process::id() % 100).unwrap() * 100;
    let free = || {
        let address = SocketAddr::from(([127, 0, 0, 1], first + TRIED.fetch_add(1, Ordering::Relaxed) % 100));
        TcpListener::bind(address).is_ok().then_some(address)
    };
    std::iter::repeat_with(free).take(100).flatten().next().expect("a free port")
}

fn home() -> TempDir {
    let home = tempfile::Builder::new().prefix("fed").tempdir().unwrap();
    // Started by root it works as another user.
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).unwrap();
    home
}
