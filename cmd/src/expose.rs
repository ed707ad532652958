//! `p2p-fed expose`: joins, and offers local services.

use std::num::NonZeroU8;

use clap::{Args, builder::BoolishValueParser};
use p2p_fed::{
    config::{ExportSettings, Label, LogSettings, Settings, Span},
    ledger::NodeId,
    proxy_protocol::Version,
    worker::{Export, Health},
};

use crate::{
    exit::Failure,
    lifetime::Role,
    node_flags::{NodeFlags, said},
};

/// Join, and offer local services.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  p2p-fed expose --token-file token 11434\n  p2p-fed expose --token-file token llm=http://127.0.0.1:8000 --health /health --max-connections 4\n  p2p-fed expose --token-file token ssh=tcp://127.0.0.1:22 docker=unix:/run/docker.sock"
)]
pub(crate) struct Expose {
    /// What to offer: [tcp://|http://]HOST:PORT, unix:PATH, or PORT of this machine; the usual NAME is `federated`
    #[arg(value_name = "[NAME=]TARGET")]
    targets: Vec<Export>,

    /// How the backends are probed: tcp, a PATH to GET, or off [default: tcp]
    #[arg(long, value_name = "PATH|tcp|off", env = "P2P_FED_HEALTH", help_heading = "Services")]
    health: Option<Health>,

    /// Connections to a backend at once, 0 for no cap [default: 0]
    #[arg(long, value_name = "COUNT", env = "P2P_FED_MAX_CONNECTIONS", help_heading = "Services")]
    max_connections: Option<u32>,

    /// Share of the work relative to other workers, 1 to 255 [default: 100]
    #[arg(long, env = "P2P_FED_WEIGHT", help_heading = "Services")]
    weight: Option<NonZeroU8>,

    /// Requests that the backend works on at once, 0 to ask it [default: 0]
    #[arg(long, value_name = "COUNT", env = "P2P_FED_SLOTS", help_heading = "Services")]
    slots: Option<u32>,

    /// Do not ask the backends whether they are model servers, which models they have and how busy they are
    #[arg(long, env = "P2P_FED_NO_INSPECT", value_parser = BoolishValueParser::new(), help_heading = "Services")]
    no_inspect: bool,

    /// Used only while no worker of a lower tier can take work, 0 to 255 [default: 0]
    #[arg(long, env = "P2P_FED_TIER", help_heading = "Services")]
    tier: Option<u8>,

    /// A node whose fronts may use the services [default: every member]
    #[arg(long, value_name = "PEER", value_delimiter = ',', env = "P2P_FED_ALLOW", help_heading = "Services")]
    allow: Vec<NodeId>,

    /// A label for people
    #[arg(long, value_name = "KEY=VALUE", help_heading = "Services")]
    label: Vec<Label>,

    /// A connection in which nothing moved for so long is ended [default: 1h]
    #[arg(long, value_name = "TIME", env = "P2P_FED_IDLE_TIMEOUT", help_heading = "Services")]
    idle_timeout: Option<Span>,

    /// Tell the backends of each connection's client by the PROXY protocol: v1 or v2 [default: not]
    #[arg(long, value_name = "VERSION", env = "P2P_FED_SEND_PROXY", help_heading = "Services")]
    send_proxy: Option<Version>,

    #[command(flatten)]
    pub(crate) node: NodeFlags,
}

impl Role for Expose {
    fn node(&self) -> &NodeFlags {
        &self.node
    }

    fn settings(&self, log: &LogSettings) -> Result<Settings, Failure> {
        let exports = said(&self.targets).map(|targets| targets.into_iter().map(target).collect());
        let said = Settings { exports, ..self.node.settings(log) };
        let settings = self.node.over_file(said)?.with_export_terms(&self.terms());
        if settings.exports.as_ref().is_none_or(Vec::is_empty) {
            return Err(Failure::usage("nothing to expose: name a target, as in `p2p-fed expose 11434`"));
        }
        // Listeners are for `serve` and `run`.
        Ok(Settings { fronts: None, ..settings })
    }
}

impl Expose {
    fn terms(&self) -> ExportSettings {
        let labels = self.label.iter().map(|label| (label.key.clone(), label.value.clone())).collect();
        ExportSettings {
            name: None,
            target: None,
            health: self.health.clone(),
            max_connections: self.max_connections,
            weight: self.weight,
            slots: self.slots,
            inspect: self.no_inspect.then_some(false),
            tier: self.tier,
            labels: (!self.label.is_empty()).then_some(labels),
            allow: said(&self.allow),
            idle_timeout: self.idle_timeout,
            send_proxy: self.send_proxy,
        }
    }
}

fn target(export: Export) -> ExportSettings {
    ExportSettings { name: Some(export.service), target: Some(export.target), ..ExportSettings::default() }
}
