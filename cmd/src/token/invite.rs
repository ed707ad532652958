//! `p2p-fed token invite`: a token for one machine.

use clap::{Args, ValueEnum};
use p2p_fed::{
    config::Span,
    ledger::{Roles, ServiceGlob},
    token::{Error, Terms},
};

use crate::{
    clock,
    exit::Failure,
    issuer::IssuerFlags,
    output,
    token_source::{self, TokenFlags},
};

/// Make a token for one machine, which says what its node may do (networks with an issuer).
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  p2p-fed token invite --role serve > laptop.token\n  p2p-fed token invite --role expose --service 'llm-*' --expires 30d --once > gpu1.token"
)]
pub(super) struct Invite {
    /// What its node may do: open connections to services, offer services, carry the traffic of others
    #[arg(long = "role", value_enum, value_name = "ROLE", required = true, value_delimiter = ',')]
    roles: Vec<Role>,

    /// Which services it may offer: a name, with * for any characters and ? for one [default: *]
    #[arg(long, value_name = "GLOB")]
    service: Option<ServiceGlob>,

    /// From when on its node is locked out, counted from now [default: never]
    #[arg(long, value_name = "TIME")]
    expires: Option<Span>,

    /// For the first node alone that uses it: a copy of the token is worth nothing then
    #[arg(long)]
    once: bool,

    #[command(flatten)]
    issuer: IssuerFlags,

    #[command(flatten)]
    pub(super) token: TokenFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Role {
    Serve,
    Expose,
    Relay,
}

impl Invite {
    pub(super) fn perform(self) -> Result<(), Failure> {
        let has = |role| self.roles.contains(&role);
        let roles = Roles { serve: has(Role::Serve), expose: has(Role::Expose), relay: has(Role::Relay) };
        if self.service.is_some() && !roles.expose {
            return Err(Failure::usage("--service says what may be offered: add --role expose"));
        }
        let expires_unix_s = match self.expires {
            None => 0,
            Some(Span(span)) if span.as_secs() == 0 => {
                return Err(Failure::usage("an invitation that expires at once invites nobody: leave --expires out"));
            }
            Some(Span(span)) => clock::unix_s().saturating_add(span.as_secs()),
        };
        let token = token_source::find(&self.token, None)?;
        let issuer = token.issuer().ok_or_else(|| Failure::usage(Error::NoIssuer))?;
        let file = self.issuer.open(&token.short_id(), &issuer)?;
        let services = self.service.unwrap_or_else(ServiceGlob::any);
        let terms = Terms { roles, services, expires_unix_s, once: self.once };
        output::print(&token.inviting(terms, file.key()).map_err(Failure::run)?.to_text())
    }
}
