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
