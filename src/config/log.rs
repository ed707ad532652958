//! What is said of logging.

use serde::Deserialize;

use super::text;
use crate::telemetry::{self, Format};

/// How the node logs, on stderr.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, expecting = "keys with values")]
pub struct LogSettings {
    /// What is logged: a level (`trace`, `debug`, `info`, `warn`, `error`, `off`), and levels of single modules, separated
    /// by commas: `info,p2p_fed::net=debug`. Default `info`. Raise it for one module rather than for all.
    #[serde(default)]
    pub level: Option<String>,
    /// What a line looks like: `console` for people, `json` for programs. Default `console`.
    #[serde(default, deserialize_with = "text::option")]
    pub format: Option<Format>,
}

impl LogSettings {
    /// These, and where they say nothing, `under`.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self { level: self.level.or(under.level), format: self.format.or(under.format) }
    }

    /// What logging is set up with.
    pub fn resolve(&self) -> telemetry::Config {
        let usual = telemetry::Config::default();
        telemetry::Config {
            format: self.format.unwrap_or(usual.format),
            filter: self.level.clone().unwrap_or(usual.filter),
            colour: usual.colour,
        }
    }
}
