//! `p2p-fed token show`: what is in a token.

use std::path::PathBuf;

use clap::Args;
use p2p_fed::token::{Description, InvitationDescription, OneTimeDescription, SecretDescription};

use crate::{
    clock,
    exit::Failure,
    output::OutputFlags,
    table::Table,
    token_source::{self, Masked, TokenFlags},
};

/// Say what is in a token, secrets masked, and what is wrong with it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  p2p-fed token show --token-file token\n  p2p-fed token show - < token")]
pub(super) struct Show {
    /// The token, or `-` for standard input; without it, the one that a node here would use
    #[arg(value_name = "TOKEN", conflicts_with = "token_file", allow_hyphen_values = true)]
    text: Option<Masked>,

    /// File with the token
    #[arg(long, value_name = "PATH")]
    token_file: Option<PathBuf>,

    #[command(flatten)]
    output: OutputFlags,
}

impl Show {
    pub(super) fn perform(self) -> Result<(), Failure> {
        let token = match &self.text {
            Some(text) if text.expose() == "-" => token_source::from_stdin()?,
            Some(text) => token_source::parse(text.expose(), "the argument")?,
            None => token_source::find(&TokenFlags { token_file: self.token_file, token: None }, None)?,
        };
        let description = token.describe(clock::unix_s());
        self.output.output.show(&description, || for_people(&description))
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
    match (&token.issuer, &token.invitation) {
        (None, _) => say("issuer", "none: every holder of the token may do everything".to_owned()),
        (Some(issuer), None) => {
            say("issuer", issuer.clone());
            say("invitation", "none: machines are invited from this token by `p2p-fed token invite`".to_owned());
        }
        (Some(issuer), Some(invitation)) => {
            say("issuer", issuer.clone());
            say("invitation", invitation.serial.clone());
            say("may", allowed(invitation));
            say("expires", invitation.expires.clone().unwrap_or_else(|| "never".to_owned()));
            say("once", if invitation.once { "yes: for the first node alone that uses it" } else { "no" }.to_owned());
        }
    }
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

/// `serve, expose services llm-*`.
fn allowed(invitation: &InvitationDescription) -> String {
    let role = |role: &&'static str| match *role {
        "expose" => format!("expose services {}", invitation.services),
        other => other.to_owned(),
    };
    invitation.roles.iter().map(role).collect::<Vec<_>>().join(", ")
}

fn one_time(value: &OneTimeDescription) -> String {
    format!("{}, new every {} s, {} characters used", secret(&value.key), value.interval_s, value.length)
}

fn secret(secret: &SecretDescription) -> String {
    format!("{} ({} characters)", secret.value, secret.characters)
}
