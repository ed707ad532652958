//! `p2p-fed version`.

use clap::Args;
use serde::Serialize;

use crate::{
    exit::Failure,
    output::OutputFlags,
    table::{Table, or_dash},
};

/// Say which version this is, and what is in it.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  p2p-fed version -o json")]
pub(crate) struct Version {
    #[command(flatten)]
    output: OutputFlags,
}

#[derive(Serialize)]
struct Facts {
    version: &'static str,
    commit: &'static str,
    libp2p: &'static str,
    features: Vec<&'static str>,
}

impl Version {
    pub(crate) fn perform(self) -> Result<(), Failure> {
        let facts = Facts {
            version: env!("CARGO_PKG_VERSION"),
            commit: env!("P2P_FED_COMMIT"),
            libp2p: env!("P2P_FED_LIBP2P"),
            features: env!("P2P_FED_FEATURES").split_terminator(' ').collect(),
        };
        self.output.output.show(&facts, || facts.page())
    }
}

impl Facts {
    fn page(&self) -> String {
        let mut table = Table::default();
        table.row(["p2p-fed".to_owned(), self.version.to_owned()]);
        table.row(["commit".to_owned(), self.commit.to_owned()]);
        table.row(["libp2p".to_owned(), self.libp2p.to_owned()]);
        table.row(["features".to_owned(), or_dash((!self.features.is_empty()).then(|| self.features.join(" ")))]);
        table.to_string()
    }
}
