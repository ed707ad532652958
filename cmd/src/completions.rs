//! `p2p-fed completions`.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::{cli::Cli, exit::Failure, output};

/// Print what makes a shell complete this command.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  p2p-fed completions bash > ~/.local/share/bash-completion/completions/p2p-fed")]
pub(crate) struct Completions {
    /// Which shell
    #[arg(value_enum)]
    shell: Shell,
}

impl Completions {
    pub(crate) fn perform(self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "p2p-fed", &mut script);
        output::print(&String::from_utf8_lossy(&script))
    }
}
