//! `p2p-fed federated`: what LocalAI calls `local-ai federated`.
//!
//! `serve` of the service `federated` under LocalAI's flags and variables, so that its documentation holds with one word
//! changed. All flags of `serve` are there as well. One thing differs from `serve` by default: it listens on all addresses,
//! as LocalAI's does.

use std::net::Ipv4Addr;

use clap::{ArgMatches, Args, builder::BoolishValueParser, parser::ValueSource};
use p2p_fed::{
    balance::Policy,
    config::{FrontSettings, Listen, LogSettings, Settings},
};

use crate::{
    exit::Failure,
    foreign_env::{self, DEBUG},
    front_flags::FrontFlags,
    lifetime::Role,
    node_flags::NodeFlags,
    serve::serving,
    target_worker::TargetWorker,
};

/// Where LocalAI listens when nothing else is said: port 8080 of all addresses.
const LISTEN: (Ipv4Addr, u16) = (Ipv4Addr::UNSPECIFIED, 8080);

/// Serve the service `federated`, under LocalAI's flags and variables.
#[derive(Debug, Args)]
#[command(
    mut_arg("token", |token| token.visible_aliases(["p2p-token", "p2ptoken"])),
    mut_arg("localai_network_id", |id| id.visible_aliases(["p2p-network-id", "peer-2-peer-network-id"])),
    after_help = "Examples, which are LocalAI's but for the first word:\n  TOKEN=… p2p-fed federated\n  ADDRESS=:80 LOCALAI_P2P_LOGLEVEL=debug TOKEN=… p2p-fed federated --debug\n  p2p-fed federated --p2p-token … --address 127.0.0.1:9090 --random-worker\n\nLocalAI's variables that are read, where the flag and its own variable say nothing:\n  LOCALAI_ADDRESS, ADDRESS                  --address\n  P2P_TOKEN, TOKEN, LOCALAI_P2P_TOKEN       --token\n  LOCALAI_P2P_NETWORK_ID, P2P_NETWORK_ID    --localai-network-id\n  LOCALAI_RANDOM_WORKER, RANDOM_WORKER      --policy random, if true\n  LOCALAI_TARGET_WORKER, TARGET_WORKER      --worker\n  LOCALAI_P2P_DISABLE_DHT                   --no-dht, if true\n  LOCALAI_P2P_LISTEN_MADDRS                 --listen-addr\n  LOCALAI_P2P_DHT_ANNOUNCE_MADDRS           --announce-addr\n  LOCALAI_P2P_BOOTSTRAP_PEERS_MADDRS        --peer\n  LOCALAI_P2P_LOGLEVEL, LOCALAI_LOG_LEVEL   --log-level\n  LOCALAI_DEBUG                             --debug, if true\n  LOCALAI_LOG_FORMAT                        --log-format\nSo are some of edgevpn's (EDGEVPNLISTENMADDRS and others); docs/localai.md lists all.\n\nIt listens on all addresses, as LocalAI's does; `p2p-fed serve` listens on 127.0.0.1 alone."
)]
pub(crate) struct Federated {
    /// Where clients connect: ADDRESS:PORT, PORT of this machine alone, or :PORT of all addresses [default: :8080]
    #[arg(long, env = "P2P_FED_ADDRESS", help_heading = "Services")]
    address: Option<Listen>,

    /// Pick workers at random: the same as --policy random
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        help_heading = "Services"
    )]
    random_worker: Option<bool>,

    /// The only worker to use: the same as --worker, and takes the ids that LocalAI gives to its nodes
    #[arg(long, value_name = "NODE", help_heading = "Services")]
    target_worker: Option<TargetWorker>,

    /// Log more: the same as --log-level debug
    #[arg(
        long,
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
        help_heading = "Logging"
    )]
    debug: Option<bool>,

    #[command(flatten)]
    front: FrontFlags,

    #[command(flatten)]
    pub(crate) node: NodeFlags,
}

impl Role for Federated {
    fn node(&self) -> &NodeFlags {
        &self.node
    }

    fn settings(&self, log: &LogSettings) -> Result<Settings, Failure> {
        let variables = foreign_env::front()?;
        let listen = self.address.or(variables.listen);
        let fronts = listen.map(|listen| vec![listening(listen)]);
        let said = Settings { fronts, ..self.node.settings(&self.log(log)) };
        let terms = self.terms().over(FrontSettings { listen: None, ..variables });
        Ok(serving(self.node.over_file(said)?, usual(), &terms))
    }
}

impl Federated {
    fn log(&self, log: &LogSettings) -> LogSettings {
        let level = (self.debug == Some(true)).then(|| DEBUG.to_owned());
        log.clone().over(LogSettings { level, format: None })
    }

    fn terms(&self) -> FrontSettings {
        // They are flags alone, so they go before the variables of ours; beside our flags they are refused.
        let localai = FrontSettings {
            // That it is not to be random is LocalAI's default, which ours is too.
            policy: self
                .random_worker
                .map(|at_random| if at_random { Policy::Random } else { Policy::default() }.into()),
            worker: self.target_worker.clone().map(|worker| worker.0),
            ..FrontSettings::default()
        };
        localai.over(self.front.terms())
    }
}

/// Refuses two flags that say the same thing. Clap's own way to do so would refuse a flag beside a variable, too.
pub(crate) fn check(matches: &ArgMatches) -> Result<(), Failure> {
    let is_flag = |name| matches.value_source(name) == Some(ValueSource::CommandLine);
    for (one, other) in [("random_worker", "policy"), ("target_worker", "worker")] {
        if is_flag(one) && is_flag(other) {
            let flag = one.replace('_', "-");
            return Err(Failure::usage(format_args!("--{flag} and --{other} say the same thing: leave one out")));
        }
    }
    Ok(())
}

fn listening(on: Listen) -> FrontSettings {
    FrontSettings { listen: Some(on), ..FrontSettings::default() }
}

/// What is served where neither flag, variable nor file says otherwise.
fn usual() -> FrontSettings {
    listening(Listen(LISTEN.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_listens_where_localai_does_unless_something_else_is_said() {
        let fronts = |said| serving(said, usual(), &FrontSettings::default()).fronts.unwrap();
        let [front] = &fronts(Settings::default())[..] else { panic!("one front") };
        assert_eq!((front.listen, &front.service), (Some(Listen("0.0.0.0:8080".parse().unwrap())), &None));
        let said = || Settings::parse("fronts: [{service: llm, listen: 9000}]").unwrap();
        assert_eq!(fronts(said()), said().fronts.unwrap());
    }
}
