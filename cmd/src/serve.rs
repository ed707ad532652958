//! `p2p-fed serve`: joins, and balances local listeners over the workers of a service.

use std::str::FromStr;

use clap::Args;
use p2p_fed::config::{FrontSettings, Listen, LogSettings, ParseWordError, Settings};

use crate::{
    exit::Failure,
    front_flags::FrontFlags,
    lifetime::Role,
    node_flags::{NodeFlags, said},
};

/// Join, and balance local listeners over the workers of a service.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  p2p-fed serve --token-file token\n  p2p-fed serve --token-file token llm@127.0.0.1:9000 --policy random\n  p2p-fed serve --token-file token ssh@2222 --mode tcp --worker gpu1"
)]
pub(crate) struct Serve {
    /// What to serve, and where: LISTEN is ADDRESS:PORT, PORT, or :PORT of all addresses [default: federated@127.0.0.1:8080]
    #[arg(value_name = "NAME[@LISTEN]")]
    services: Vec<Served>,

    #[command(flatten)]
    front: FrontFlags,

    #[command(flatten)]
    pub(crate) node: NodeFlags,
}

/// `[NAME][@LISTEN]`.
#[derive(Clone, Debug)]
struct Served {
    service: Option<String>,
    listen: Option<Listen>,
}

impl FromStr for Served {
    type Err = ParseWordError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (service, listen) = match text.split_once('@') {
            Some((service, listen)) => (service, Some(listen.parse()?)),
            None => (text, None),
        };
        Ok(Self { service: (!service.is_empty()).then(|| service.to_owned()), listen })
    }
}

impl Role for Serve {
    fn node(&self) -> &NodeFlags {
        &self.node
    }

    fn settings(&self, log: &LogSettings) -> Result<Settings, Failure> {
        let fronts = said(&self.services).map(|services| services.into_iter().map(front).collect());
        let said = Settings { fronts, ..self.node.settings(log) };
        Ok(serving(self.node.over_file(said)?, FrontSettings::default(), &self.front.terms()))
    }
}

/// The settings of a node that serves: where neither flags nor file name a front, it is `usual`. `terms` hold for each.
pub(crate) fn serving(mut settings: Settings, usual: FrontSettings, terms: &FrontSettings) -> Settings {
    if settings.fronts.as_ref().is_none_or(Vec::is_empty) {
        settings.fronts = Some(vec![usual]);
    }
    // What a node offers is for `expose` and `run`.
    Settings { exports: None, ..settings.with_front_terms(terms) }
}

fn front(served: Served) -> FrontSettings {
    FrontSettings { service: served.service, listen: served.listen, ..FrontSettings::default() }
}
