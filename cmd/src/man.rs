//! `p2p-fed man`.

use clap::{Args, CommandFactory};
use clap_mangen::Man;

use crate::{cli::Cli, exit::Failure, output};

/// Print the manual page, of the whole or of one command.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  p2p-fed man serve | man -l -")]
pub(crate) struct Manual {
    /// Which command
    command: Option<String>,
}

impl Manual {
    pub(crate) fn perform(self) -> Result<(), Failure> {
        let mut whole = Cli::command();
        whole.build();
        let command = match &self.command {
            None => whole,
            Some(name) => {
                let found = whole.find_subcommand(name).cloned();
                found.ok_or_else(|| {
                    Failure::usage(format_args!("there is no command {name:?}; `p2p-fed --help` lists them"))
                })?
            }
        };
        let mut page = Vec::new();
        let rendered = Man::new(command).render(&mut page);
        rendered.map_err(|error| Failure::run(format_args!("cannot make the page: {error}")))?;
        output::print(&String::from_utf8_lossy(&page))
    }
}
