//! Two haproxy with TLS 1.3 between them: the balancer and TLS terminator that most would take.
//!
//! Four listeners each: TCP for the TCP backend, TCP for the HTTP backend, and twice HTTP for the HTTP backend, for clients with
//! HTTP/1 and with HTTP/2, where connections between the two and to the backend are reused.

use std::path::Path;

use tokio::process::Command;

use super::{
    Site,
    certificate::Certificate,
    chain::{Chain, Entry},
    ports,
    process::Process,
    program,
};

/// As many threads as the smallest machine that is measured on has cores.
const THREADS: usize = 2;

/// Connections at once, far more than are opened.
const CONNECTIONS: usize = 4000;

pub(super) async fn start(site: &Site<'_>) -> anyhow::Result<Chain> {
    let bin = program::find("haproxy", site.tools)?;
    let certificate = Certificate::make(site.folder, site.tools).await?;
    let near = ports::free::<4>()?;
    let far = ports::free::<4>()?;
    let backends = [site.backend.tcp, site.backend.http, site.backend.http, site.backend.http];

    let tls = format!("ssl crt {} ssl-min-ver TLSv1.3", certificate.with_key.display());
    let far_config =
        config(std::array::from_fn(|i| Leg { bind: format!("{} {tls}", far[i]), server: backends[i].to_string() }), "");
    let tls = format!("ssl verify required ca-file {} ssl-min-ver TLSv1.3", certificate.certificate.display());
    let near_config = config(
        std::array::from_fn(|i| Leg { bind: near[i].to_string(), server: format!("{} {tls}", far[i]) }),
        "proto h2",
    );

    let far = run(&bin, "haproxy-far", &far_config, site.folder)?;
    let near_process = run(&bin, "haproxy-near", &near_config, site.folder)?;
    let entry = Entry { tcp: near[0], http: near[1], http_mode: Some(near[2]), http2: Some(near[3]) };
    Chain::new(entry, vec![near_process], vec![far]).ready().await
}

/// From a listener to a server, in haproxy's words.
struct Leg {
    bind: String,
    server: String,
}

/// The third and the fourth leg understand HTTP; the clients of the fourth speak `clients`.
fn config([tcp, http, http_mode, http2]: [Leg; 4], clients: &str) -> String {
    format!(
        "global
    nbthread {THREADS}
    maxconn {CONNECTIONS}
defaults
    mode tcp
    timeout connect 5s
    timeout client 1h
    timeout server 1h
listen tcp
    bind {}
    server next {}
listen http
    bind {}
    server next {}
listen http_mode
    mode http
    option http-keep-alive
    http-reuse always
    bind {}
    server next {}
listen http2
    mode http
    option http-keep-alive
    http-reuse always
    bind {} {clients}
    server next {}
",
        tcp.bind, tcp.server, http.bind, http.server, http_mode.bind, http_mode.server, http2.bind, http2.server
    )
}

fn run(bin: &Path, name: &'static str, config: &str, folder: &Path) -> anyhow::Result<Process> {
    let file = folder.join(format!("{name}.cfg"));
    std::fs::write(&file, config)?;
    Process::spawn(name, Command::new(bin).arg("-db").arg("-f").arg(&file), folder)
}
