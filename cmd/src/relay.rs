//! `p2p-fed relay`: a node that offers nothing but its address, to members or to anybody.

use clap::{Args, builder::BoolishValueParser};
use p2p_fed::{
    config::{LogSettings, Meeting, RelaySettings, Serving, Settings, Span},
    net::{Dht, Relaying},
};

use crate::{
    cli::LogFlags,
    exit::Failure,
    lifetime::{self, Role},
    node_flags::NodeFlags,
    open_relay,
};

/// Join as bootstrap peer, server of the private DHT and relay, on a machine that the others can dial.
#[derive(Debug, Args)]
#[command(
    after_help = "Example, on a machine with a public address, and then on each of the others:\n  p2p-fed relay --token-file token --listen-addr /ip4/0.0.0.0/tcp/4001,/ip4/0.0.0.0/udp/4001/quic-v1\n  p2p-fed expose --token-file token --dht private --peer /ip4/203.0.113.7/tcp/4001/p2p/12D3KooW… 11434\n\nThe address to hand out is in the line that begins with `ready`."
)]
pub(crate) struct Relay {
    /// Nodes that are reachable through it at once [default: 1024, without token 256]
    #[arg(long, value_name = "COUNT", env = "P2P_FED_MAX_RESERVATIONS", help_heading = "Relay")]
    max_reservations: Option<usize>,

    /// Circuits at once [default: 4096, without token 1024]
    #[arg(long, value_name = "COUNT", env = "P2P_FED_MAX_CIRCUITS", help_heading = "Relay")]
    max_circuits: Option<usize>,

    /// Circuits at once that one node began [default: 1024, without token 64]
    #[arg(long, value_name = "COUNT", env = "P2P_FED_MAX_CIRCUITS_PER_PEER", help_heading = "Relay")]
    max_circuits_per_peer: Option<usize>,

    /// How long one circuit lasts [default: 365d, without token 1d]
    #[arg(long, value_name = "TIME", env = "P2P_FED_MAX_CIRCUIT_TIME", help_heading = "Relay")]
    max_circuit_time: Option<Span>,

    /// Bytes that one circuit carries, 0 for any number [default: 0, without token 16 GiB]
    #[arg(long, value_name = "BYTES", env = "P2P_FED_MAX_CIRCUIT_BYTES", help_heading = "Relay")]
    max_circuit_bytes: Option<u64>,

    /// Serve the nodes of any network: the relay is a member of none, and has no token
    #[arg(long, env = "P2P_FED_NO_TOKEN", conflicts_with_all = ["token", "token_file"], value_parser = BoolishValueParser::new(), help_heading = "Relay")]
    no_token: bool,

    #[command(flatten)]
    pub(crate) node: NodeFlags,
}

impl Relay {
    /// Runs it until it is told to stop.
    pub(crate) async fn perform(&self, log: &LogFlags) -> Result<(), Failure> {
        if !self.no_token {
            return lifetime::run(self, log).await;
        }
        let log = log.settings();
        open_relay::run(self.settings(&log)?, &log, self.node.output.output).await
    }
}

impl Role for Relay {
    fn node(&self) -> &NodeFlags {
        &self.node
    }

    fn settings(&self, log: &LogSettings) -> Result<Settings, Failure> {
        let said = Settings {
            relay: RelaySettings {
                reservations: self.max_reservations,
                circuits: self.max_circuits,
                circuits_per_peer: self.max_circuits_per_peer,
                circuit_time: self.max_circuit_time,
                circuit_bytes: self.max_circuit_bytes,
            },
            ..self.node.settings(log)
        };
        let settings = self.node.over_file(said)?;
        Ok(Settings {
            relaying: settings.relaying.or(Some(Serving(Relaying::Always))),
            // It is where the members' own DHT is entered, and has no need of another.
            dht: settings.dht.or(Some(Meeting(Dht::Private))),
            exports: None,
            fronts: None,
            ..settings
        })
    }
}
