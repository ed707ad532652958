//! `p2p-fed run`: everything that the configuration file says, in one process.

use clap::Args;
use p2p_fed::config::{LogSettings, Settings};

use crate::{exit::Failure, foreign_env, lifetime::Role, node_flags::NodeFlags, token_source::in_config_folder};

/// Do everything that the configuration file says, in one process.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  p2p-fed run -c p2p-fed.yaml\n\nwhere p2p-fed.yaml is\n  token_file: token\n  exports:\n    - {name: llm, target: 11434}\n  fronts:\n    - {service: llm, listen: 127.0.0.1:8080}\n\nWithout -c, it is ~/.config/p2p-fed/config.yaml."
)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) node: NodeFlags,
}

impl Role for Run {
    fn node(&self) -> &NodeFlags {
        &self.node
    }

    fn settings(&self, log: &LogSettings) -> Result<Settings, Failure> {
        let path = self.node.config.clone().or_else(|| in_config_folder("config.yaml"));
        let Some(path) = path else { return Err(Failure::usage("no configuration: name a file with -c FILE")) };
        Ok(self.node.settings(log).over(foreign_env::node()?).over(Settings::read(&path)?))
    }
}
