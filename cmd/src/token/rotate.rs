//! `p2p-fed token rotate`: the next generation of a network's token.

use std::time::Duration;

use clap::Args;
use p2p_fed::{
    config::Span,
    ledger::NodeId,
    token::{Error, GenerationSecret, seal},
};

use crate::{
    decree::NodeChoice,
    exit::Failure,
    issuer::IssuerFlags,
    output,
    token_source::{self, TokenFlags},
};

/// How long the old generation admits, unless said otherwise: a machine that is switched on once a day moves along.
const GRACE: Duration = Duration::from_secs(24 * 60 * 60);

/// Replace the token's secret: who is in the network moves along by itself, who has only the old token is locked out (networks
/// with an issuer).
///
/// The new token is printed for the issuer, who makes invitations from it from now on, also for machines that are away for
/// longer than the grace.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  p2p-fed token rotate > token.new && mv token.new token\n  p2p-fed token rotate --now > token.new      # the old token is in the wrong hands"
)]
pub(super) struct Rotate {
    /// How long the old token still admits [default: 24h]
    #[arg(long, value_name = "TIME", conflicts_with = "now")]
    grace: Option<Span>,

    /// The old token admits nobody from now on; the same as --grace 0
    #[arg(long)]
    now: bool,

    #[command(flatten)]
    issuer: IssuerFlags,

    #[command(flatten)]
    node: NodeChoice,

    #[command(flatten)]
    pub(super) token: TokenFlags,
}

impl Rotate {
    pub(super) async fn perform(self) -> Result<(), Failure> {
        let token = token_source::find(&self.token, None)?;
        let issuer = token.issuer().ok_or_else(|| Failure::usage(Error::NoIssuer))?;
        let file = self.issuer.open(&token.short_id(), &issuer)?;
        let asked = self.node.ask().await?;
        if asked.network_id != token.network_id() {
            return Err(Failure::usage(format_args!(
                "the node that runs here is in network {}, the token is for {}: choose another node with --node",
                asked.issued.network,
                token.short_id()
            )));
        }

        let known = asked.issued.members.iter().map(|member| (member.node.parse(), member.invitation.clone()));
        let known: Vec<(NodeId, _)> = known.filter_map(|(node, serial)| Some((node.ok()?, serial))).collect();
        let mut draft = asked.draft(file)?;
        let decree = &mut draft.decree;
        let is_revoked = |serial: &Option<String>| {
            serial
                .as_deref()
                .and_then(|serial| serial.parse().ok())
                .is_some_and(|serial| decree.revoked.contains(&serial))
        };
        let stays = |(node, serial): &(NodeId, _)| !decree.banned.contains(node) && !is_revoked(serial);
        let members: Vec<_> = known.into_iter().filter(stays).map(|(node, _)| node).collect();
        let before = decree.rotation.as_ref().map_or(0, |rotation| rotation.generation).max(token.generation());
        let generation = before.checked_add(1);
        let generation = generation.ok_or_else(|| Failure::run("this network's token has no generation left"))?;
        let secret = GenerationSecret::draw().map_err(Failure::run)?;
        let grace = self.grace.map_or(if self.now { Duration::ZERO } else { GRACE }, |Span(grace)| grace);
        let rotation = seal::seal(token.network_id(), generation, grace, &secret, members).map_err(Failure::run)?;
        let members = rotation.sealed.len();
        if members < 2 {
            tracing::warn!("no other node is known here: nobody else moves along by itself");
        }
        decree.rotation = Some(rotation);

        let next = token.uninvited().with_generation(generation, secret).map_err(Failure::run)?;
        let decree = draft.enact().await?;
        tracing::info!(generation, members, grace_s = grace.as_secs(), decree, "token rotated");
        output::print(&next.to_text())
    }
}
