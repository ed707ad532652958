//! What this node is to the issuer of its network: a guest with an invitation.

use super::{Error, Front};
use crate::{
    identity::{Identity, StateDir},
    ledger::{Credential, IssuerKey},
    net::{Guests, Relaying},
    token::Token,
    worker::Export,
};

/// A node's invitation, bound to it.
#[derive(Debug)]
pub(super) struct Guest {
    issuer: IssuerKey,
    credential: Credential,
}

impl Guest {
    /// The guest that the holder of `identity` is by `token`; none in an open network.
    ///
    /// # Errors
    /// [`Error::Uninvited`] where there should be an invitation.
    pub(super) fn of(token: &Token, identity: &Identity) -> Result<Option<Self>, Error> {
        let Some(issuer) = token.issuer() else { return Ok(None) };
        let invite = token.invite().ok_or(Error::Uninvited)?;
        Ok(Some(Self { issuer, credential: invite.bind(identity.node_id()) }))
    }

    /// Whether it may do all that it is told to.
    ///
    /// # Errors
    /// The first thing that it may not.
    pub(super) fn check(&self, exports: &[Export], fronts: &[Front]) -> Result<(), Error> {
        let invitation = self.credential.invitation();
        let may_expose = |service: &str| invitation.roles.expose && invitation.services.matches(service);
        if let Some(export) = exports.iter().find(|export| !may_expose(&export.service)) {
            return Err(Error::MayNotExpose { service: export.service.clone(), granted: invitation.in_words() });
        }
        if !fronts.is_empty() && !invitation.roles.serve {
            return Err(Error::MayNotServe { granted: invitation.in_words() });
        }
        Ok(())
    }

    /// When it is a relay, where it was told to be one `relaying`.
    ///
    /// # Errors
    /// [`Error::MayNotRelay`] where it was told to be one whatever comes.
    pub(super) fn relays(&self, relaying: Relaying) -> Result<Relaying, Error> {
        let invitation = self.credential.invitation();
        match relaying {
            _ if invitation.roles.relay => Ok(relaying),
            Relaying::Always => Err(Error::MayNotRelay { granted: invitation.in_words() }),
            Relaying::Auto | Relaying::Never => Ok(Relaying::Never),
        }
    }

    pub(super) fn credential(&self) -> &Credential {
        &self.credential
    }

    /// What admission needs of it.
    pub(super) fn guests(&self, token: &Token, state: &StateDir) -> Guests {
        Guests::new(self.issuer, token.network_id(), &self.credential, state.load_spent())
    }
}
