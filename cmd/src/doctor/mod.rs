//! `p2p-fed doctor`: why can my nodes not see each other.
//!
//! ```text
//! node here? ── yes ─▶ control socket ─▶ Checkup (facts) ─┐
//!           └── no ──▶ what shows without one (alone) ────┴─▶ findings ─▶ page, exit code
//! ```
//!
//! Facts are gathered by the node, which knows them from what it does anyway; nothing is tried and nothing is sent for this.
//! [`judge`] turns them into findings and knows no node, no clock and no file.

mod alone;
mod finding;
mod judge;

use std::path::PathBuf;

use clap::Args;
use p2p_fed::{
    api::{Checkup, Client, TokenFacts, client},
    config::Settings,
    identity::RuntimeDir,
    telemetry,
};
use serde::Serialize;

use self::{
    finding::{Finding, State},
    judge::Found,
};
use crate::{
    cli::LogFlags,
    clock,
    exit::Failure,
    output::OutputFlags,
    table::span,
    token_source::{self, TokenFlags},
};

/// Find out why nodes do not see each other
///
/// Asks the node that runs here what it has found out: clocks, token, ports, UDP and TCP, mDNS, DHT, NAT, relays. Without one, what
/// shows without is looked at. Nothing is sent into the network. Exit code 1 where something keeps nodes apart.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  p2p-fed doctor\n  p2p-fed doctor --config node.yaml                # before the node is started\n  p2p-fed doctor -o json | jq '.findings[] | select(.state != \"ok\")'"
)]
pub(crate) struct Doctor {
    /// The node to ask, by its name or its control socket; not needed where only one is running
    #[arg(long, value_name = "NAME|SOCKET")]
    node: Option<String>,

    /// Configuration file (YAML) of a node that is not running: are its ports free?
    #[arg(short, long, value_name = "FILE", env = "P2P_FED_CONFIG")]
    config: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) token: TokenFlags,

    #[command(flatten)]
    output: OutputFlags,
}

/// `p2p-fed doctor -o json`.
#[derive(Debug, Serialize)]
struct Report {
    /// Nothing failed.
    ok: bool,
    findings: Vec<Finding>,
    /// What the node said; none where none is running.
    facts: Option<Checkup>,
}

impl Doctor {
    pub(crate) async fn perform(&self, log: &LogFlags) -> Result<(), Failure> {
        telemetry::init(&log.settings().resolve())?;
        let settings = self.config.as_deref().map(Settings::read).transpose()?;
        let configured = settings.as_ref().and_then(|settings| settings.token_file.clone());
        let config = settings.map(Settings::resolve).transpose()?;
        let facts = self.ask().await?;
        let found = self.find(configured.as_deref());
        let findings = match &facts {
            Some(facts) => {
                let mut findings = vec![of_node(facts)];
                findings.extend(judge::checkup(facts, found.as_ref().ok()));
                findings
            }
            None => alone::findings(found.as_ref(), config.as_ref()),
        };
        let failed: Vec<_> =
            findings.iter().filter(|finding| finding.state == State::Fail).map(|finding| finding.check).collect();
        let report = Report { ok: failed.is_empty(), findings, facts };
        self.output.output.show(&report, || finding::page(&report.findings))?;
        match report.ok {
            true => Ok(()),
            false => Err(Failure::run(format_args!(
                "{} of {} checks failed: {}",
                failed.len(),
                report.findings.len(),
                failed.join(", ")
            ))),
        }
    }

    /// What the node knows; none where none is running, unless one was named.
    async fn ask(&self) -> Result<Option<Checkup>, Failure> {
        let runtime = RuntimeDir::open().map_err(Failure::run)?;
        match Client::find(runtime.path(), self.node.as_deref()).await {
            Ok(client) => Ok(Some(client.checkup().await?)),
            Err(client::Error::NoneRunning) if self.node.is_none() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The token that a node started here would use.
    fn find(&self, configured: Option<&std::path::Path>) -> Result<Found, Failure> {
        let token = token_source::find(&self.token, configured)?;
        let origin = token_source::origin(&self.token, configured);
        Ok(Found { facts: TokenFacts::of(&token, clock::unix_s()), origin })
    }
}

fn of_node(facts: &Checkup) -> Finding {
    let (name, network, uptime) = (&facts.node.name, &facts.network, span(facts.node.uptime_s));
    Finding::ok("node", format!("{name} runs in network {network} for {uptime}"))
}
