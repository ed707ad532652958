//! An invitation that travels in a token.

use ed25519_dalek::SigningKey;
use rand::{TryRng, rngs::SysRng};
use time::{OffsetDateTime, format_description::well_known::Rfc3339};
use zeroize::Zeroizing;

use super::{Error, Native, Token, secret::secret_key};
use crate::ledger::{Credential, Invitation, NodeId, Roles, Serial, ServiceGlob, SignedInvitation, WireError};

/// Bytes of the holder's secret.
const SECRET: usize = 32;

secret_key! {
    /// The private half of the key pair that was made for one invitation: an Ed25519 seed.
    HolderSecret
}

/// What the issuer lets one machine do, and the secret with which a node there makes it its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invite {
    signed: SignedInvitation,
    holder: HolderSecret,
}

/// What an invitation shall say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// What the node may do.
    pub roles: Roles,
    /// Which services it may expose, where it may expose any.
    pub services: ServiceGlob,
    /// From when on it is worth nothing, in seconds since 1970; 0 is never.
    pub expires_unix_s: u64,
    /// For one node alone, the first that shows it.
    pub once: bool,
}

impl HolderSecret {
    fn key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.0)
    }
}

impl Invite {
    /// What it says.
    pub fn invitation(&self) -> &Invitation {
        self.signed.invitation()
    }

    /// Makes it that of `node`: what the node shows to others from then on.
    pub fn bind(&self, node: NodeId) -> Credential {
        Credential::bind(self.signed.clone(), &self.holder.key(), node)
    }

    pub(super) fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(self.signed.bytes().len() + SECRET));
        bytes.extend_from_slice(self.signed.bytes());
        bytes.extend_from_slice(&self.holder.0);
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let (signed, holder) = bytes.split_last_chunk::<SECRET>().ok_or(Error::InvitationDamaged)?;
        let signed = SignedInvitation::decode(signed).map_err(|error| match error {
            WireError::Unsupported { .. } => Error::Unknown,
            _ => Error::InvitationDamaged,
        })?;
        Ok(Self { signed, holder: HolderSecret(*holder) })
    }
}

impl Token {
    /// The token for one machine, which it lets do what `terms` say. It takes the place of one that is there.
    ///
    /// # Errors
    /// [`Error::NoIssuer`] in an open network, [`Error::InvitationForged`] if `issuer` is not the network's, and
    /// [`Error::NoRandomness`].
    pub fn inviting(&self, terms: Terms, issuer: &SigningKey) -> Result<Self, Error> {
        let theirs = self.issuer().ok_or(Error::NoIssuer)?;
        let draw =
            |bytes: &mut [u8]| SysRng.try_fill_bytes(bytes).map_err(|error| Error::NoRandomness(error.to_string()));
        let (mut serial, mut holder) = ([0; 16], HolderSecret([0; SECRET]));
        draw(&mut serial)?;
        draw(&mut holder.0)?;
        let Terms { roles, services, expires_unix_s, once } = terms;
        let invitation = Invitation {
            network: self.network_id(),
            serial: Serial(serial),
            holder: holder.key().verifying_key().to_bytes(),
            roles,
            services,
            expires_unix_s,
            once,
        };
        let signed = SignedInvitation::sign(invitation, issuer);
        signed.verify(&theirs).map_err(|_| Error::InvitationForged)?;
        Ok(self.with_invite(Some(Invite { signed, holder })))
    }

    /// The token without an invitation: the issuer's own, from which invitations are made.
    pub fn uninvited(&self) -> Self {
        self.with_invite(None)
    }

    fn with_invite(&self, invite: Option<Invite>) -> Self {
        let native = self.native.clone().map(|native| Native { invite, ..native });
        Self { native, ..self.clone() }
    }

    /// Whether its invitation, if it has one, is what it should be.
    pub(super) fn check_invite(&self) -> Result<(), Error> {
        let (Some(Invite { signed, holder }), Some(issuer)) = (self.invite(), self.issuer()) else { return Ok(()) };
        if signed.invitation().network != self.network_id() {
            return Err(Error::InvitationElsewhere);
        }
        signed.verify(&issuer).map_err(|_| Error::InvitationForged)?;
        if holder.key().verifying_key().to_bytes() == signed.invitation().holder {
            Ok(())
        } else {
            Err(Error::InvitationDamaged)
        }
    }

    /// Whether its invitation, if it has one, is still good at this instant.
    ///
    /// # Errors
    /// [`Error::InvitationExpired`], which no later instant will change.
    pub fn check_expiry(&self, unix_s: u64) -> Result<(), Error> {
        match self.invite() {
            Some(invite) if invite.invitation().is_expired(unix_s.saturating_mul(1000)) => {
                Err(Error::InvitationExpired(instant(invite.invitation().expires_unix_s)))
            }
            _ => Ok(()),
        }
    }
}

/// `2027-01-15T08:00:00Z`; a number for what no calendar has.
pub(super) fn instant(unix_s: u64) -> String {
    let instant = i64::try_from(unix_s).ok().and_then(|unix_s| OffsetDateTime::from_unix_timestamp(unix_s).ok());
    instant.and_then(|instant| instant.format(&Rfc3339).ok()).unwrap_or_else(|| format!("second {unix_s} since 1970"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        ledger::{IssuerKey, NetworkId},
        token::{
            Mint,
            parse::tests::{issued, issuer},
        },
    };

    fn terms() -> Terms {
        Terms {
            roles: Roles { expose: true, ..Roles::NONE },
            services: "llm-*".parse().unwrap(),
            expires_unix_s: 1_800_000_000,
            once: true,
        }
    }

    fn node() -> NodeId {
        SigningKey::from_bytes(&[5; 32]).verifying_key().into()
    }

    #[test]
    fn who_is_invited_can_show_it() {
        let token = issued().inviting(terms(), &issuer()).unwrap();
        let read = Token::parse(&token.to_text()).unwrap();
        assert_eq!(read, token);
        assert_eq!(read.uninvited(), issued());
        let credential = read.invite().unwrap().bind(node());
        let grant = credential.verify(&read.issuer().unwrap(), read.network_id(), &node()).unwrap();
        assert!(grant.may_expose("llm-7b") && !grant.may_expose("ssh") && !grant.may_serve() && grant.once);
        let again = issued().inviting(terms(), &issuer()).unwrap();
        assert_ne!(again.invite().unwrap().invitation().serial, token.invite().unwrap().invitation().serial);
    }

    #[test]
    fn nobody_else_invites() {
        let open = Token::mint(&Mint::default()).unwrap();
        assert_eq!(open.inviting(terms(), &issuer()), Err(Error::NoIssuer));
        let other = SigningKey::from_bytes(&[8; 32]);
        assert_eq!(issued().inviting(terms(), &other), Err(Error::InvitationForged));
    }

    #[test]
    fn an_invitation_keeps_its_generation() {
        let secret = crate::token::GenerationSecret::from_bytes([7; 32]);
        let later = issued().with_generation(2, secret.clone()).unwrap().inviting(terms(), &issuer()).unwrap();
        let first = issued().inviting(terms(), &issuer()).unwrap();
        assert_eq!((later.generation(), later.generation_secret()), (2, Some(&secret)));
        assert_eq!(Token::parse(&later.to_text()).unwrap(), later);
        assert_eq!(first.with_generation(2, secret).unwrap().invite(), first.invite());
    }

    /// The token with another invitation, as if it had always been there.
    fn with(change: impl FnOnce(&mut Invitation), signed_by: &SigningKey, holder: u8) -> Result<Token, Error> {
        let mut invitation = Invitation {
            network: issued().network_id(),
            serial: Serial([1; 16]),
            holder: SigningKey::from_bytes(&[6; 32]).verifying_key().to_bytes(),
            roles: Roles::ALL,
            services: ServiceGlob::any(),
            expires_unix_s: 0,
            once: false,
        };
        change(&mut invitation);
        let signed = SignedInvitation::sign(invitation, signed_by);
        let invite = Invite { signed, holder: HolderSecret([holder; 32]) };
        Token::parse(&issued().with_invite(Some(invite)).to_text())
    }

    #[test]
    fn what_is_no_invitation_is_told() {
        assert!(with(|_| {}, &issuer(), 6).is_ok());
        let elsewhere = with(|invitation| invitation.network = NetworkId([1; 16]), &issuer(), 6);
        assert_eq!(elsewhere.unwrap_err(), Error::InvitationElsewhere);
        assert_eq!(with(|_| {}, &SigningKey::from_bytes(&[8; 32]), 6).unwrap_err(), Error::InvitationForged);
        assert_eq!(with(|_| {}, &issuer(), 7).unwrap_err(), Error::InvitationDamaged, "another holder's secret");
    }

    #[test]
    fn an_expired_one_is_still_one() {
        let token = issued().inviting(terms(), &issuer()).unwrap();
        assert_eq!(token.check_expiry(1_799_999_999), Ok(()));
        let error = token.check_expiry(1_800_000_000).unwrap_err();
        assert!(
            error.to_string().starts_with("the token's invitation expired at 2027-01-15T08:00:00Z: ask "),
            "{error}"
        );
        let never = issued().inviting(Terms { expires_unix_s: 0, ..terms() }, &issuer()).unwrap();
        assert_eq!((never.check_expiry(u64::MAX), issued().check_expiry(u64::MAX)), (Ok(()), Ok(())));
        assert_eq!(instant(u64::MAX), format!("second {} since 1970", u64::MAX));
    }

    #[test]
    fn no_changed_byte_makes_another_invitation() {
        let token = issued().inviting(terms(), &issuer()).unwrap();
        let bytes = token.invite().unwrap().to_bytes();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let Ok(invite) = Invite::from_bytes(&changed) else { continue };
            let damaged = token.with_invite(Some(invite));
            assert!(damaged.check_invite().is_err(), "bit 0 of byte {at}");
        }
        assert_eq!(Invite::from_bytes(&bytes[..31]), Err(Error::InvitationDamaged));
    }

    #[test]
    fn debug_shows_no_secret() {
        let token = issued().inviting(terms(), &issuer()).unwrap();
        let shown = format!("{token:?}");
        assert!(shown.contains("holder: ***"), "{shown}");
        assert_eq!(token.issuer(), Some(IssuerKey::from(issuer().verifying_key())));
    }
}
