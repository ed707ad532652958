//! The exchange itself, over any stream between two ends whose ids are known: that of a fresh connection, or one on which
//! members prove a newer generation to each other.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use futures::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use libp2p::PeerId;

use super::{
    Error,
    guests::{Denial, Guests},
    hung_up,
    keyring::Keyring,
    proof::{NONCE, Nonce, PROOF, Role, Secret, Transcript},
};
use crate::{ledger::CREDENTIAL_MAX, net::node_of};

/// The answer to a credential that is taken.
const TAKEN: u8 = 0;

/// What this end brings along.
#[derive(Clone, Copy, Debug)]
pub(super) struct Talk<'a> {
    pub(super) local: PeerId,
    pub(super) keyring: &'a Keyring,
    /// In a network with an issuer.
    pub(super) guests: Option<&'a Guests>,
}

/// What the other end proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Proved {
    /// Its clock minus ours, in milliseconds.
    pub(super) clock_ahead_ms: i64,
    /// Under which generation.
    pub(super) generation: u32,
}

impl Talk<'_> {
    /// The dialler's part, once its nonce is on its way.
    pub(super) async fn dial<S>(self, peer: PeerId, stream: &mut S, nonce_dialler: Nonce) -> Result<Proved, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut nonce_listener = [0; NONCE];
        let mut proofs = [[0; PROOF]; 2];
        stream.read_exact(&mut nonce_listener).await.map_err(hung_up)?;
        for proof in &mut proofs {
            stream.read_exact(proof).await.map_err(hung_up)?;
        }
        let transcript = Transcript { dialler: self.local, listener: peer, nonce_dialler, nonce_listener };
        let (newest, older) = self.keyring.secrets(Instant::now());
        let secrets = [Some(newest), older];
        let tries = secrets.iter().flatten().flat_map(|secret| proofs.iter().map(move |proof| (secret, proof)));
        let (secret, theirs) = tries
            .filter_map(|(secret, proof)| Some((secret, transcript.check(secret, Role::Listener, proof)?)))
            .next()
            .ok_or(Error::WrongToken)?;
        let ours = unix_ms();
        let mut answer = transcript.prove(secret, Role::Dialler, ours).to_vec();
        if let Some(guests) = self.guests {
            answer.extend_from_slice(&credential(guests.own()));
        }
        stream.write_all(&answer).await?;
        if let Some(guests) = self.guests {
            stream.flush().await?;
            let mut taken = [0];
            stream.read_exact(&mut taken).await.map_err(hung_up)?;
            if taken != [TAKEN] {
                return Err(Error::DeniedUs(Denial::of_code(taken[0])));
            }
            let shown = read_credential(stream).await?;
            guests.admit(node(&peer)?, &shown).await.map_err(Error::Denied)?;
        }
        // Closing flushes. The listener may have ended its half by then, which is no failure.
        stream.close().await.or_else(super::already_closed)?;
        Ok(Proved { clock_ahead_ms: ahead(theirs, ours), generation: secret.generation })
    }

    /// The listener's part.
    pub(super) async fn listen<S>(self, peer: PeerId, stream: &mut S) -> Result<Proved, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut nonce_dialler = [0; NONCE];
        stream.read_exact(&mut nonce_dialler).await.map_err(hung_up)?;
        let transcript = Transcript { dialler: peer, listener: self.local, nonce_dialler, nonce_listener: nonce() };
        let (newest, older) = self.keyring.secrets(Instant::now());
        let ours = unix_ms();
        let prove = |secret: &Secret| transcript.prove(secret, Role::Listener, ours);
        let proofs = [prove(&newest), older.as_deref().map_or_else(rand::random, prove)];
        stream.write_all(&[&transcript.nonce_listener[..], &proofs[0], &proofs[1]].concat()).await?;
        stream.flush().await?;
        let mut proof = [0; PROOF];
        stream.read_exact(&mut proof).await.map_err(hung_up)?;
        let (generation, theirs) = [Some(newest), older]
            .iter()
            .flatten()
            .find_map(|secret| Some((secret.generation, transcript.check(secret, Role::Dialler, &proof)?)))
            .ok_or(Error::WrongToken)?;
        let clock_ahead_ms = ahead(theirs, unix_ms());
        if let Some(guests) = self.guests {
            let shown = read_credential(stream).await?;
            if let Err(denial) = guests.admit(node(&peer)?, &shown).await {
                stream.write_all(&[denial.code()]).await?;
                stream.close().await.or_else(super::already_closed)?;
                return Err(Error::Denied(denial));
            }
            stream.write_all(&[&[TAKEN][..], &credential(guests.own())].concat()).await?;
        }
        stream.close().await.or_else(super::already_closed)?;
        Ok(Proved { clock_ahead_ms, generation })
    }
}

/// A nonce of this end.
pub(super) fn nonce() -> Nonce {
    rand::random()
}

/// A credential after its length.
fn credential(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap_or(u16::MAX).to_be_bytes()[..], bytes].concat()
}

async fn read_credential<S: AsyncRead + Unpin>(stream: &mut S) -> Result<Vec<u8>, Error> {
    let mut length = [0; 2];
    stream.read_exact(&mut length).await.map_err(hung_up)?;
    let length = usize::from(u16::from_be_bytes(length));
    if length > CREDENTIAL_MAX {
        return Err(Error::Denied(Denial::Uninvited));
    }
    let mut shown = vec![0; length];
    stream.read_exact(&mut shown).await.map_err(hung_up)?;
    Ok(shown)
}

/// Members are Ed25519 nodes.
fn node(peer: &PeerId) -> Result<crate::ledger::NodeId, Error> {
    node_of(peer).ok_or(Error::Denied(Denial::Uninvited))
}

fn unix_ms() -> u64 {
    // A clock before 1970 is off by so much that zero tells it as well.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

fn ahead(theirs: u64, ours: u64) -> i64 {
    theirs.saturating_sub(ours) as i64 - ours.saturating_sub(theirs) as i64
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::SigningKey;
    use futures::FutureExt;
    use proptest::prelude::*;
    use tokio_util::compat::TokioAsyncReadCompatExt;

    use super::*;
    use crate::{
        identity::{RuntimeDir, StateDir},
        ledger::{Credential, Invitation, NetworkId, NodeId, Roles, Serial, ServiceGlob, SignedInvitation},
        net::peer_of,
        token::AdmissionKey,
    };

    const NETWORK: NetworkId = NetworkId([1; 16]);

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn node(n: u8) -> NodeId {
        key(n).verifying_key().into()
    }

    fn peer(n: u8) -> PeerId {
        peer_of(&node(n)).unwrap()
    }

    /// A member's secret, in a network whose issuer is node 9.
    fn secret() -> Secret {
        let issuer = Some(key(9).verifying_key().into());
        Secret { network: NETWORK, issuer, generation: 1, key: AdmissionKey::from_bytes([2; 32]) }
    }

    fn credential_of(n: u8) -> Credential {
        let invitation = Invitation {
            network: NETWORK,
            serial: Serial([n; 16]),
            holder: key(8).verifying_key().to_bytes(),
            roles: Roles::ALL,
            services: ServiceGlob::any(),
            expires_unix_s: 0,
            once: false,
        };
        Credential::bind(SignedInvitation::sign(invitation, &key(9)), &key(8), node(n))
    }

    fn guests(folder: &std::path::Path, n: u8) -> Guests {
        let runtime = RuntimeDir::at(&folder.join("run")).unwrap();
        let name = format!("node{n}").parse().unwrap();
        let state = StateDir::claim(&folder.join("state"), &runtime, "k7qd-93ma", &name, false).unwrap();
        Guests::new(key(9).verifying_key().into(), NETWORK, &credential_of(n), state.load_spent())
    }

    /// What comes of a talk with somebody who says all of this at once and then hangs up, whatever is answered.
    fn hears(dials: bool, guests: Option<&Guests>, said: &[u8]) -> Result<Proved, Error> {
        let keyring = Keyring::new(secret());
        let talk = Talk { local: peer(1), keyring: &keyring, guests };
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (mut near, mut far) = (near.compat(), far.compat());
        far.write_all(said).now_or_never().unwrap().unwrap();
        far.close().now_or_never().unwrap().unwrap();
        let result = match dials {
            true => talk.dial(peer(2), &mut near, [3; NONCE]).now_or_never(),
            false => talk.listen(peer(2), &mut near).now_or_never(),
        };
        result.expect("all that will be said was said")
    }

    #[test]
    fn two_members_that_were_invited_let_each_other_in() {
        let folder = tempfile::tempdir().unwrap();
        let keyring = Keyring::new(secret());
        let [one, two] = [1, 2].map(|n| guests(folder.path(), n));
        let talk = |n, guests| Talk { local: peer(n), keyring: &keyring, guests: Some(guests) };
        let (near, far) = tokio::io::duplex(64 * 1024);
        let (mut near, mut far) = (near.compat(), far.compat());
        let nonce = [3; NONCE];
        near.write_all(&nonce).now_or_never().unwrap().unwrap();
        let both = async {
            tokio::join!(talk(1, &one).dial(peer(2), &mut near, nonce), talk(2, &two).listen(peer(1), &mut far))
        };
        let (dialled, listened) = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(both);
        assert_eq!((dialled.unwrap().generation, listened.unwrap().generation), (1, 1));
        assert!(one.granted(&node(2)).is_some() && two.granted(&node(1)).is_some());
    }

    proptest! {
        #[test]
        fn whatever_is_said_without_the_secret_lets_nobody_in(dials: bool, said: Vec<u8>) {
            prop_assert!(hears(dials, None, &said).is_err());
            let long = said.repeat(1000 / (said.len() + 1) + 1);
            prop_assert!(hears(dials, None, &long).is_err());
        }

        /// The listener's nonce is not known before it is said, so this is what a dialler hears from a member that was not
        /// invited: the right proof, and then anything.
        #[test]
        fn a_member_that_shows_no_invitation_is_not_let_in(shown: Vec<u8>, length: Option<u16>) {
            let folder = tempfile::tempdir().unwrap();
            let (nonce_dialler, nonce_listener) = ([3; NONCE], [4; NONCE]);
            let transcript = Transcript { dialler: peer(1), listener: peer(2), nonce_dialler, nonce_listener };
            let proof = transcript.prove(&secret(), Role::Listener, 1_800_000_000_000);
            let length = length.unwrap_or(shown.len() as u16).to_be_bytes();
            let said = [&nonce_listener[..], &proof, &[0; PROOF], &[TAKEN], &length, &shown].concat();
            let result = hears(true, Some(&guests(folder.path(), 1)), &said);
            prop_assert!(matches!(result, Err(Error::Denied(Denial::Uninvited) | Error::HungUp)), "{result:?}");
        }
    }
}
