//! What can be typed.

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use p2p_fed::{config::LogSettings, telemetry::Format};

use crate::{
    ask::AskFlags,
    ban::Ban,
    completions::Completions,
    demo::Demo,
    doctor::Doctor,
    exit::Failure,
    explain::Explain,
    expose::Expose,
    federated::{self, Federated},
    man::Manual,
    output,
    ping::Ping,
    relay::Relay,
    run::Run,
    serve::Serve,
    token::TokenCommand,
    token_source::Masked,
    version::Version,
};

/// A federated, load-balancing tunnel proxy for machines that share one token.
#[derive(Debug, Parser)]
#[command(
    name = "p2p-fed",
    version,
    disable_help_subcommand = true,
    after_help = "The first minute:\n  worker$ p2p-fed token > token && chmod 600 token     # copy the file to the other machine\n  worker$ p2p-fed expose --token-file token 11434\n  laptop$ p2p-fed serve --token-file token\n  laptop$ curl http://127.0.0.1:8080/"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) log: LogFlags,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// How a command logs.
#[derive(Clone, Debug, Args)]
pub(crate) struct LogFlags {
    /// What is logged on stderr: trace, debug, info, warn, error or off, and MODULE=LEVEL, separated by commas
    #[arg(long, global = true, env = "P2P_FED_LOG", value_name = "FILTER", help_heading = "Logging")]
    log_level: Option<String>,

    /// What a log line looks like: console or json
    #[arg(long, global = true, env = "P2P_FED_LOG_FORMAT", value_name = "FORMAT", help_heading = "Logging")]
    log_format: Option<Format>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Token(TokenCommand),
    Ban(Ban),
    Expose(Box<Expose>),
    Serve(Box<Serve>),
    Federated(Box<Federated>),
    Run(Box<Run>),
    Relay(Box<Relay>),
    /// Ask the node running here how it is
    #[command(
        after_help = "Examples:\n  p2p-fed status\n  p2p-fed status -o json | jq .ready\n  p2p-fed status --watch"
    )]
    Status(AskFlags),
    /// Ask the node running here who is connected to it
    #[command(after_help = "Example:\n  p2p-fed peers --watch")]
    Peers(AskFlags),
    /// Ask the node running here what its network offers
    #[command(after_help = "Example:\n  p2p-fed services -o json | jq '.services[].workers[].name'")]
    Services(AskFlags),
    /// Ask the node running here for the records it holds
    #[command(after_help = "Example:\n  p2p-fed ledger --node laptop")]
    Ledger(AskFlags),
    Explain(Explain),
    Ping(Ping),
    Doctor(Doctor),
    Demo(Demo),
    Completions(Completions),
    Man(Manual),
    Version(Version),
}

impl Cli {
    /// Reads what was typed. Help that was asked for is printed, and ends the program well.
    pub(crate) fn read() -> Result<Self, Failure> {
        let matches = Self::command().try_get_matches();
        let cli = matches.and_then(|matches| Ok((Self::from_arg_matches(&matches)?, matches)));
        let (cli, matches) = cli.map_err(|error| {
            if error.use_stderr() {
                return error.into();
            }
            // Clap colours help for a terminal alone.
            match error.print() {
                Ok(()) => Failure::Closed,
                Err(_) => output::print("").err().unwrap_or(Failure::Closed),
            }
        })?;
        match matches.subcommand() {
            Some(("federated", matches)) => federated::check(matches).map(|()| cli),
            _ => Ok(cli),
        }
    }

    /// The token, if it is among the arguments.
    pub(crate) fn token_argument(&self) -> Option<&Masked> {
        match &self.command {
            Command::Token(token) => token.token_argument(),
            Command::Expose(expose) => expose.node.token.token.as_ref(),
            Command::Serve(serve) => serve.node.token.token.as_ref(),
            Command::Federated(federated) => federated.node.token.token.as_ref(),
            Command::Run(run) => run.node.token.token.as_ref(),
            Command::Relay(relay) => relay.node.token.token.as_ref(),
            Command::Doctor(doctor) => doctor.token.token.as_ref(),
            _ => None,
        }
    }
}

impl LogFlags {
    pub(crate) fn settings(&self) -> LogSettings {
        LogSettings { level: self.log_level.clone(), format: self.log_format }
    }
}
