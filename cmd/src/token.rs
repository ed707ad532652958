//! `p2p-fed token`: makes tokens, and says what is in them.

use std::{num::NonZeroU64, path::PathBuf};

use clap::{Args, Subcommand};
use p2p_fed::{
    config::LogSettings,
    telemetry,
    token::{Description, Mint, OneTimeDescription, SecretDescription, Token},
};

use crate::{
    clock,
    exit::Failure,
    output::{self, Output, OutputFlags},
    table::Table,
    token_source::{self, Masked, TokenFlags},
};

/// Make a token, or say what is in one.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  p2p-fed token > token && chmod 600 token\n  p2p-fed token show --token-file token"
)]
pub(crate) struct TokenCommand {
    /// Mint for a network that edgevpn and LocalAI nodes may join as well, once p2p-fed speaks to them: it does not yet
    #[arg(long)]
    compat: bool,

    /// Seconds that a rendezvous and a gossip topic last; nodes whose clocks differ by more may miss each other
    #[arg(long, value_name = "SECONDS")]
    key_otp_interval: Option<NonZeroU64>,

    #[command(subcommand)]
    show: Option<Subcommands>,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    Show(Show),
}

/// Say what is in a token, secrets masked, and what is wrong with it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  p2p-fed token show --token-file token\n  p2p-fed token show - < token")]
struct Show {
    /// The token, or `-` for standard input; without it, the one that a node here would use
    #[arg(value_name = "TOKEN", conflicts_with = "token_file", allow_hyphen_values = true)]
    text: Option<Masked>,

    /// File with the token
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,

    #[command(flatten)]
    output: OutputFlags,
}

impl TokenCommand {
    pub(crate) fn perform(self, log: &LogSettings) -> Result<(), Failure> {
        telemetry::init(&log.resolve())?;
        match self.show {
            Some(Subcommands::Show(show)) => show.perform(),
            None => {
                let usual = Mint::default();
                let mint = Mint {
                    issuer: None,
                    strict: !self.compat,
                    dht_interval_s: self.key_otp_interval.unwrap_or(usual.dht_interval_s),
                    crypto_interval_s: self.key_otp_interval.unwrap_or(usual.crypto_interval_s),
                };
                output::print(&Token::mint(&mint).map_err(Failure::run)?.to_text())
            }
        }
    }
}

impl Show {
    fn perform(self) -> Result<(), Failure> {
        let token = match &self.text {
            Some(text) if text.expose() == "-" => token_source::from_stdin()?,
            Some(text) => token_source::parse(text.expose(), "the argument")?,
            None => token_source::find(&TokenFlags { token_file: self.token_file, token: None }, None)?,
        };
        let description = token.describe(clock::unix_s());
        match self.output.output {
            Output::Json => output::print_json(&description),
            Output::Text => output::print(&for_people(&description)),
        }
    }
}

fn for_people(token: &Description) -> String {
    let mut table = Table::default();
    let mut say = |key: &str, value: String| table.row([key.to_owned(), value]);
    say("network", token.network.clone());
    say("format", token.format.to_owned());
    let strict = if token.strict {
        "yes: every node proves the token"
    } else {
        "no: edgevpn and LocalAI nodes may take part, in a version that speaks to them"
    };
    say("strict", strict.to_owned());
    say("generation", token.generation.to_string());
    say("otp.dht", one_time(&token.dht));
    say("otp.crypto", one_time(&token.crypto));
    say("room", secret(&token.room));
    say("rendezvous", secret(&token.rendezvous));
    say("mdns", secret(&token.mdns));
    say("message size", format!("{} bytes at most", token.max_message_size));
    for warning in &token.warnings {
        say("warning", warning.clone());
    }
    table.to_string()
}

fn one_time(value: &OneTimeDescription) -> String {
    format!("{}, new every {} s, {} characters used", secret(&value.key), value.interval_s, value.length)
}

fn secret(secret: &SecretDescription) -> String {
    format!("{} ({} characters)", secret.value, secret.characters)
}
