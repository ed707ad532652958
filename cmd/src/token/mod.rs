//! `p2p-fed token`: makes tokens, and says what is in them.

mod invite;
mod rotate;
mod show;

use std::num::NonZeroU64;

use clap::{Args, Subcommand};
use p2p_fed::{
    config::LogSettings,
    identity::IssuerFile,
    telemetry,
    token::{Mint, Token},
};

use crate::{
    exit::Failure,
    issuer::IssuerFlags,
    output,
    token_source::{Masked, TokenFlags},
};

/// Make a token, or say what is in one.
#[derive(Debug, Args)]
#[command(
    args_conflicts_with_subcommands = true,
    after_help = "Examples:\n  p2p-fed token > token && chmod 600 token\n  p2p-fed token show --token-file token\n  p2p-fed token --admin > token && p2p-fed token invite --token-file token --role serve > laptop.token"
)]
pub(crate) struct TokenCommand {
    /// Mint for a network that nodes of edgevpn and LocalAI take part in as well
    #[arg(long)]
    compat: bool,

    /// Mint for a network with an issuer, who says which machine may do what; its key is put into a file
    #[arg(long, conflicts_with = "compat")]
    admin: bool,

    #[command(flatten)]
    issuer: IssuerFlags,

    /// Seconds that a rendezvous and a gossip topic last; nodes whose clocks differ by more may miss each other
    #[arg(long, value_name = "SECONDS")]
    key_otp_interval: Option<NonZeroU64>,

    #[command(subcommand)]
    subcommand: Option<Subcommands>,
}

#[derive(Debug, Subcommand)]
enum Subcommands {
    Show(show::Show),
    Invite(invite::Invite),
    Rotate(rotate::Rotate),
}

impl TokenCommand {
    pub(crate) fn perform(self, log: &LogSettings) -> Result<(), Failure> {
        telemetry::init(&log.resolve())?;
        match self.subcommand {
            Some(Subcommands::Show(show)) => show.perform(),
            Some(Subcommands::Invite(invite)) => invite.perform(),
            Some(Subcommands::Rotate(rotate)) => crate::wait(rotate.perform()),
            None => self.mint(),
        }
    }

    /// The token, if it is among the arguments.
    pub(crate) fn token_argument(&self) -> Option<&Masked> {
        let flags: &TokenFlags = match self.subcommand.as_ref()? {
            Subcommands::Show(_) => return None,
            Subcommands::Invite(invite) => &invite.token,
            Subcommands::Rotate(rotate) => &rotate.token,
        };
        flags.token.as_ref()
    }

    fn mint(self) -> Result<(), Failure> {
        if self.issuer.issuer_key.is_some() && !self.admin {
            return Err(Failure::usage("--issuer-key says where the key of an issuer is put: add --admin to have one"));
        }
        let usual = Mint::default();
        let mint = Mint {
            strict: !self.compat,
            dht_interval_s: self.key_otp_interval.unwrap_or(usual.dht_interval_s),
            crypto_interval_s: self.key_otp_interval.unwrap_or(usual.crypto_interval_s),
            issuer: None,
        };
        let token = if self.admin { self.issue(mint)? } else { Token::mint(&mint).map_err(Failure::run)? };
        output::print(&token.to_text())
    }

    /// A token whose issuer's key is in its file before anybody sees the token.
    fn issue(&self, mint: Mint) -> Result<Token, Failure> {
        let key = IssuerFile::draw().map_err(Failure::run)?;
        let issuer = Some(key.verifying_key().into());
        let token = Token::mint(&Mint { issuer, ..mint }).map_err(Failure::run)?;
        let path = self.issuer.place(&token.short_id())?;
        let file = IssuerFile::create(&path, key).map_err(Failure::usage)?;
        tracing::warn!(
            file = %file.path().display(),
            "issuer key made: keep it safe and keep a copy, it alone can invite, rotate and ban"
        );
        Ok(token)
    }
}
