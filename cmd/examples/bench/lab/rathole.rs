//! rathole, server and client, over plain TCP: a tunnel of its kind that encrypts nothing.
//!
//! The server is the near side: its client is beside the backend, and dials.

use std::{net::SocketAddr, path::Path};

use tokio::process::Command;

use super::{
    Site,
    chain::{Chain, Entry},
    ports,
    process::Process,
    program,
};

/// What server and client know each other by; nobody else is on loopback.
const TOKEN: &str = "bench";

pub(super) async fn start(site: &Site<'_>) -> anyhow::Result<Chain> {
    let bin = program::find("rathole", site.tools)?;
    let [control, tcp, http] = ports::free()?;
    let server = format!("[server]\nbind_addr = \"{control}\"\ndefault_token = \"{TOKEN}\"\n")
        + &service("server", "tcp", "bind_addr", tcp)
        + &service("server", "http", "bind_addr", http);
    let client = format!("[client]\nremote_addr = \"{control}\"\ndefault_token = \"{TOKEN}\"\n")
        + &service("client", "tcp", "local_addr", site.backend.tcp)
        + &service("client", "http", "local_addr", site.backend.http);
    let near = run(&bin, "server", "rathole-near", &server, site.folder)?;
    let far = run(&bin, "client", "rathole-far", &client, site.folder)?;
    Chain::new(Entry { tcp, http, http_mode: None, http2: None }, vec![near], vec![far]).ready().await
}

fn service(side: &str, name: &str, key: &str, address: SocketAddr) -> String {
    format!("[{side}.services.{name}]\ntype = \"tcp\"\nnodelay = true\n{key} = \"{address}\"\n")
}

fn run(bin: &Path, side: &str, name: &'static str, config: &str, folder: &Path) -> anyhow::Result<Process> {
    let file = folder.join(format!("{name}.toml"));
    std::fs::write(&file, config)?;
    let mut command = Command::new(bin);
    command.arg(format!("--{side}")).arg(&file).env("RUST_LOG", "warn");
    Process::spawn(name, &mut command, folder)
}
