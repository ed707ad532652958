//! The command `p2p-fed`.
//!
//! What was typed is parsed into flags ([`cli`]); each command has a file of its own that says what it does with them.
//! Those that run a node turn flags, environment and file into one validated configuration ([`node_flags`]) and then stay
//! ([`lifetime`]) until a signal; those that ask one are clients of its control socket ([`ask`]).
//!
//! **Invariant.** Results go to stdout and everything else to stderr. A failure is one line that says what, why and what
//! to do next, and an exit code ([`exit`]).

mod ask;
mod ban;
mod cli;
mod clock;
mod completions;
mod decree;
mod demo;
mod descriptors;
mod doctor;
mod exit;
mod explain;
mod expose;
mod federated;
mod foreign_env;
mod front_flags;
mod issuer;
mod ledger;
mod lifetime;
mod man;
mod node_flags;
mod open_relay;
mod output;
mod peers;
mod ping;
mod relay;
mod run;
mod serve;
mod services;
mod signals;
mod status;
mod table;
mod target_worker;
mod title;
mod token;
mod token_source;
mod version;

use std::process::ExitCode;

use p2p_fed::api::Client;

use crate::{
    cli::{Cli, Command},
    exit::Failure,
};

fn main() -> ExitCode {
    match Cli::read().and_then(perform) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn perform(cli: Cli) -> Result<(), Failure> {
    title::hide_token(cli.token_argument());
    let log = cli.log;
    match cli.command {
        Command::Token(token) => token.perform(&log.settings()),
        Command::Ban(ban) => wait(ban.perform(&log)),
        Command::Expose(expose) => wait(lifetime::run(&*expose, &log)),
        Command::Serve(serve) => wait(lifetime::run(&*serve, &log)),
        Command::Federated(federated) => wait(lifetime::run(&*federated, &log)),
        Command::Relay(relay) => wait(relay.perform(&log)),
        Command::Run(run) => wait(lifetime::run(&*run, &log)),
        Command::Status(flags) => wait(ask::ask(&flags, &log, Client::status)),
        Command::Peers(flags) => wait(ask::ask(&flags, &log, Client::peers)),
        Command::Services(flags) => wait(ask::ask(&flags, &log, Client::services)),
        Command::Ledger(flags) => wait(ask::ask(&flags, &log, Client::ledger)),
        Command::Explain(explain) => wait(explain.perform(&log)),
        Command::Doctor(doctor) => wait(doctor.perform(&log)),
        Command::Ping(ping) => wait(ping.perform(&log)),
        Command::Demo(demo) => wait(demo.perform(&log)),
        Command::Completions(completions) => completions.perform(),
        Command::Man(man) => man.perform(),
        Command::Version(version) => version.perform(),
    }
}

/// Runs what waits for the world.
fn wait(command: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime =
        tokio::runtime::Runtime::new().map_err(|error| Failure::run(format_args!("cannot start: {error}")))?;
    runtime.block_on(command)
}
