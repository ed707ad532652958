//! Two stunnel, TLS 1.3, small writes sent at once: the plain way to put TCP into TLS.

use std::{net::SocketAddr, path::Path};

use tokio::process::Command;

use super::{
    Site,
    certificate::Certificate,
    chain::{Chain, Entry},
    ports,
    process::Process,
    program,
};

pub(super) async fn start(site: &Site<'_>) -> anyhow::Result<Chain> {
    let bin = program::find("stunnel", site.tools)?;
    let certificate = Certificate::make(site.folder, site.tools).await?;
    let [tcp, http, far_tcp, far_http] = ports::free()?;

    let server = format!("cert = {}\n", certificate.with_key.display());
    let server = server + &service("tcp", far_tcp, site.backend.tcp) + &service("http", far_http, site.backend.http);
    let client = format!("client = yes\nverifyPeer = yes\nCAfile = {}\n", certificate.certificate.display());
    let client = client + &service("tcp", tcp, far_tcp) + &service("http", http, far_http);

    let far = run(&bin, "stunnel-far", &server, site.folder)?;
    let near = run(&bin, "stunnel-near", &client, site.folder)?;
    Chain::new(Entry { tcp, http, http_mode: None, http2: None }, vec![near], vec![far]).ready().await
}

fn service(name: &str, accept: SocketAddr, connect: SocketAddr) -> String {
    format!("[{name}]\naccept = {accept}\nconnect = {connect}\n")
}

fn run(bin: &Path, name: &'static str, config: &str, folder: &Path) -> anyhow::Result<Process> {
    let file = folder.join(format!("{name}.conf"));
    let common = "foreground = yes\npid =\nsyslog = no\ndebug = err\nsslVersion = TLSv1.3\n\
                  socket = l:TCP_NODELAY=1\nsocket = r:TCP_NODELAY=1\n";
    std::fs::write(&file, common.to_owned() + config)?;
    Process::spawn(name, Command::new(bin).arg(&file), folder)
}
