//! Interim command, replaced when the branch `cmd` lands.
use clap::{Args, Parser, Subcommand};
use p2p_fed::{
    front, net,
    node::{Config, Front, Node},
    telemetry,
    token::{Mint, Token},
    worker::Export,
};
use std::{net::SocketAddr, path::PathBuf, time::Duration};

#[derive(Parser)]
#[command(name = "p2p-fed")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Token {
        #[arg(long, default_value_t = 360)]
        key_otp_interval: u64,
        #[command(subcommand)]
        sub: Option<TokenSub>,
    },
    Expose {
        #[command(flatten)]
        common: Common,
        targets: Vec<String>,
        #[arg(long)]
        health: Option<String>,
        #[arg(long)]
        max_connections: Option<u32>,
    },
    Serve {
        #[command(flatten)]
        common: Common,
        services: Vec<String>,
        #[arg(long, default_value = "least-used")]
        policy: String,
        #[arg(long, default_value = "auto")]
        mode: String,
        #[arg(long)]
        worker: Option<String>,
    },
    Status {
        #[arg(long)]
        node: Option<String>,
        #[arg(short, long)]
        output: Option<String>,
    },
    Ledger {
        #[arg(long)]
        node: Option<String>,
        #[arg(short, long)]
        output: Option<String>,
    },
}
#[derive(Subcommand)]
enum TokenSub {
    Show { token: Option<String> },
}

#[derive(Args)]
struct Common {
    #[arg(long)]
    token_file: Option<PathBuf>,
    #[arg(long)]
    token: Option<String>,
    #[arg(long)]
    listen_addr: Vec<libp2p::Multiaddr>,
    #[arg(long)]
    peer: Vec<libp2p::Multiaddr>,
    #[arg(long)]
    no_mdns: bool,
    #[arg(long)]
    no_dht: bool,
    #[arg(long)]
    lan: bool,
    #[arg(long)]
    dht: Option<String>,
    #[arg(long)]
    identity: Option<PathBuf>,
    #[arg(long)]
    state_dir: Option<PathBuf>,
    #[arg(long)]
    name: Option<String>,
    #[arg(long, default_value = "30s")]
    drain_timeout: String,
    #[arg(long, default_value = "info")]
    log_level: String,
    #[arg(long)]
    wait: Option<u64>,
    #[arg(short, long)]
    output: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(cli.command))
}

async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Token { sub: Some(TokenSub::Show { token }), .. } => {
            println!("{}", serde_json::to_string_pretty(&Token::parse(&token.unwrap_or_default())?.describe())?);
        }
        Command::Token { key_otp_interval, .. } => {
            let interval = key_otp_interval.try_into()?;
            let mint = Mint { dht_interval_s: interval, crypto_interval_s: interval, ..Mint::default() };
            println!("{}", *Token::mint(&mint)?.to_text());
        }
        Command::Expose { common, targets, health, max_connections } => {
            let mut exports = Vec::new();
            for target in targets {
                let mut export: Export = target.parse()?;
                if let Some(health) = &health {
                    export.health = health.parse()?;
                }
                if let Some(max) = max_connections {
                    export.max_connections = max;
                }
                exports.push(export);
            }
            node(common, exports, vec![]).await?;
        }
        Command::Serve { common, services, policy, mode, worker } => {
            let services = if services.is_empty() { vec!["federated".to_owned()] } else { services };
            let mut fronts = Vec::new();
            for text in services {
                let (name, listen) = text.split_once('@').unwrap_or((&text, "127.0.0.1:8080"));
                let listen: SocketAddr =
                    if listen.starts_with(':') { format!("127.0.0.1{listen}").parse()? } else { listen.parse()? };
                let mut config = front::Config::new(name, listen);
                config.mode = mode.parse()?;
                fronts.push(Front {
                    front: config,
                    policy: policy.parse()?,
                    pin: worker.as_deref().map(str::parse).transpose()?,
                });
            }
            node(common, vec![], fronts).await?;
        }
        Command::Status { node, .. } => println!("{}", ask(node, "/v1/status").await?),
        Command::Ledger { node, .. } => println!("{}", ask(node, "/v1/ledger").await?),
    }
    Ok(())
}

async fn ask(node: Option<String>, path: &str) -> anyhow::Result<String> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let dir = p2p_fed::identity::RuntimeDir::open()?;
    let socket = match node {
        Some(node) if node.contains('/') => node.into(),
        Some(node) => dir.path().join(format!("{node}.sock")),
        None => std::fs::read_dir(dir.path())?
            .filter_map(Result::ok)
            .map(|e| e.path())
            .find(|p| p.extension().is_some_and(|e| e == "sock"))
            .ok_or_else(|| anyhow::anyhow!("no node"))?,
    };
    let mut stream = tokio::net::UnixStream::connect(socket).await?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await?;
    let mut text = String::new();
    stream.read_to_string(&mut text).await?;
    Ok(text.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
}

async fn node(common: Common, exports: Vec<Export>, fronts: Vec<Front>) -> anyhow::Result<()> {
    telemetry::init(&telemetry::Config { filter: common.log_level.clone(), ..telemetry::Config::default() })?;
    let text = match (common.token_file, common.token) {
        (Some(file), _) => std::fs::read_to_string(file)?,
        (None, Some(token)) => token,
        (None, None) => std::env::var("P2P_FED_TOKEN")?,
    };
    let token = Token::parse(&text)?;
    let dht = match (common.no_dht || common.lan, common.dht.as_deref()) {
        (true, _) => net::Dht::Off,
        (_, Some("private")) => net::Dht::Private,
        _ => net::Dht::Public,
    };
    let config = Config {
        name: common.name.map(|name| name.parse()).transpose()?,
        state_dir: common.state_dir,
        runtime_dir: None,
        identity: common.identity,
        net: net::Config {
            listen: common.listen_addr,
            peers: common.peer,
            mdns: !common.no_mdns,
            dht,
            lan: common.lan,
            ..net::Config::default()
        },
        exports,
        fronts,
    };
    let node = Node::start(config, token).await?;
    tracing::info!(network = node.network(), node = node.id().short(), name = node.name(), "joined");
    let addresses: Vec<_> = node.addresses().iter().map(ToString::to_string).collect();
    for (service, on) in node.fronts() {
        tracing::info!(service, on = format!("http://{on}"), "listening");
    }
    if common.output.as_deref() == Some("json") {
        println!(
            "{}",
            serde_json::json!({"ready": true, "name": node.name(), "addresses": addresses, "fronts": node.fronts().iter().map(|(_, a)| a.to_string()).collect::<Vec<_>>() })
        );
    } else {
        println!("ready name={} addresses={}", node.name(), addresses.join(","));
    }
    let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    let mut int = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => {} _ = int.recv() => {}
        error = node.failed() => return Err(error.into()),
    }
    let end = node.drain(Duration::from_secs(30)).await;
    tracing::info!(end = ?end, "drained");
    node.stop().await;
    Ok(())
}
