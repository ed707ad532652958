//! A generation's secret, sealed to each member of the network.
//!
//! The issuer draws one X25519 key pair for one rotation and agrees with each member's identity key on a key of its own:
//!
//! ```text
//! shared = X25519(ephemeral, member)             the member's Ed25519 key, on the Montgomery curve
//! key    = HKDF-SHA256(shared, salt "p2p-fed/seal/v1", info = ephemeral public key ‖ member's id)
//! sealed = AES-256-GCM(key, nonce 0, secret, associated data = network id ‖ generation u32 ‖ member's id)
//! ```
//!
//! Each key seals one secret once, which is why the nonce may be zero: whoever seals again draws another pair.
//!
//! Not here: that the issuer made it. Its signature over the [decree](crate::ledger::Decree) that holds all this says so.

use std::time::Duration;

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    agreement::{PrivateKey, UnparsedPublicKey, X25519, agree},
};
use ed25519_dalek::{SigningKey, VerifyingKey};
use hkdf::Hkdf;
use rand::{TryRng, rngs::SysRng};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Error, GenerationSecret};
use crate::ledger::{NetworkId, NodeId, Rotation, Sealed};

/// Keeps these keys apart from others that may come from the same agreement.
const SALT: &[u8] = b"p2p-fed/seal/v1";

/// Bytes of a secret and its tag.
const SEALED: usize = 48;

/// Why a secret does not come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// It was not sealed to this node. It never will be by this rotation.
    #[error(
        "the new generation's secret is not sealed to this node: get its token from the keeper of the issuer's key"
    )]
    NotForUs,
    /// What was sealed to this node is not a secret of this network and generation.
    #[error("the new generation's secret does not open: get its token from the keeper of the issuer's key")]
    Damaged,
}

/// Seals the secret of a generation to each of `members`. An id that is no usable key gets nothing; it could not have
/// signed a record either.
///
/// # Errors
/// [`Error::NoRandomness`].
pub fn seal(
    network: NetworkId,
    generation: u32,
    grace: Duration,
    secret: &GenerationSecret,
    members: impl IntoIterator<Item = NodeId>,
) -> Result<Rotation, Error> {
    let mut drawn = Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(&mut *drawn).map_err(|error| Error::NoRandomness(error.to_string()))?;
    let no_key = || Error::NoRandomness("no key pair came from it".to_owned());
    let private = PrivateKey::from_private_key(&X25519, &*drawn).map_err(|_| no_key())?;
    let public = private.compute_public_key().map_err(|_| no_key())?;
    let ephemeral: [u8; 32] = public.as_ref().try_into().map_err(|_| no_key())?;
    let mut sealed = Sealed::default();
    for member in members {
        if let Some(sealed_one) = seal_to(&private, &ephemeral, Associated { network, generation, member }, secret) {
            sealed.insert(&member, sealed_one);
        }
    }
    Ok(Rotation { generation, grace, ephemeral, sealed })
}

/// The secret that was sealed to the node with this identity.
///
/// # Errors
/// There is none, or it does not open.
pub fn open(rotation: &Rotation, network: NetworkId, identity: &SigningKey) -> Result<GenerationSecret, OpenError> {
    let member = identity.verifying_key().into();
    let sealed = rotation.sealed.get(&member).ok_or(OpenError::NotForUs)?;
    let associated = Associated { network, generation: rotation.generation, member };
    open_from(identity, &rotation.ephemeral, associated, sealed).ok_or(OpenError::Damaged)
}

/// To whom, and for what.
#[derive(Clone, Copy)]
struct Associated {
    network: NetworkId,
    generation: u32,
    member: NodeId,
}

impl Associated {
    fn data(&self) -> Aad<Vec<u8>> {
        Aad::from([&self.network.0[..], &self.generation.to_be_bytes(), self.member.as_bytes()].concat())
    }
}

fn seal_to(
    private: &PrivateKey,
    ephemeral: &[u8; 32],
    to: Associated,
    secret: &GenerationSecret,
) -> Option<[u8; SEALED]> {
    let member = VerifyingKey::from_bytes(to.member.as_bytes()).ok().filter(|key| !key.is_weak())?;
    let key = key(private, &member.to_montgomery().to_bytes(), ephemeral, &to.member)?;
    let mut bytes = Zeroizing::new([0; SEALED]);
    let (text, tag) = bytes.split_first_chunk_mut::<32>()?;
    *text = *secret.as_bytes();
    let made = key.seal_in_place_separate_tag(nonce(), to.data(), text).ok()?;
    tag.copy_from_slice(made.as_ref());
    Some(*bytes)
}

fn open_from(
    identity: &SigningKey,
    ephemeral: &[u8; 32],
    to: Associated,
    sealed: &[u8; SEALED],
) -> Option<GenerationSecret> {
    let scalar = Zeroizing::new(identity.to_scalar_bytes());
    let private = PrivateKey::from_private_key(&X25519, &*scalar).ok()?;
    let key = key(&private, ephemeral, ephemeral, &to.member)?;
    let mut bytes = Zeroizing::new(*sealed);
    let text = key.open_in_place(nonce(), to.data(), &mut *bytes).ok()?;
    Some(GenerationSecret::from_bytes((&*text).try_into().ok()?))
}

/// The key that the owner of `private` shares with the owner of `public`. None, where `public` is of low order: then anybody
/// would know it.
fn key(private: &PrivateKey, public: &[u8; 32], ephemeral: &[u8; 32], member: &NodeId) -> Option<LessSafeKey> {
    let info = [&ephemeral[..], member.as_bytes()].concat();
    let mut key = Zeroizing::new([0; 32]);
    agree(private, UnparsedPublicKey::new(&X25519, public), (), |shared| {
        Hkdf::<Sha256>::new(Some(SALT), shared).expand(&info, &mut *key).map_err(|_| ())
    })
    .ok()?;
    UnboundKey::new(&AES_256_GCM, &*key).ok().map(LessSafeKey::new)
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; NONCE_LEN])
}

#[cfg(test)]
mod tests {
    use super::*;

    const NETWORK: NetworkId = NetworkId([1; 16]);

    fn identity(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn node(n: u8) -> NodeId {
        identity(n).verifying_key().into()
    }

    fn secret() -> GenerationSecret {
        GenerationSecret::from_bytes([0x5e; 32])
    }

    fn rotation() -> Rotation {
        seal(NETWORK, 2, Duration::from_secs(60), &secret(), [node(1), node(2)]).unwrap()
    }

    #[test]
    fn each_member_opens_its_own() {
        let rotation = rotation();
        assert_eq!((rotation.generation, rotation.grace, rotation.sealed.len()), (2, Duration::from_secs(60), 2));
        for n in [1, 2] {
            assert_eq!(open(&rotation, NETWORK, &identity(n)), Ok(secret()));
        }
        assert_ne!(rotation.sealed.get(&node(1)), rotation.sealed.get(&node(2)));
        assert_ne!(rotation, self::rotation(), "each rotation has a key pair of its own");
    }

    #[test]
    fn another_member_network_or_generation_opens_nothing() {
        let rotation = rotation();
        assert_eq!(open(&rotation, NETWORK, &identity(3)), Err(OpenError::NotForUs));
        assert_eq!(open(&rotation, NetworkId([2; 16]), &identity(1)), Err(OpenError::Damaged));
        let later = Rotation { generation: 3, ..rotation.clone() };
        assert_eq!(open(&later, NETWORK, &identity(1)), Err(OpenError::Damaged));
        let mut swapped = rotation.clone();
        swapped.sealed.insert(&node(1), *rotation.sealed.get(&node(2)).unwrap());
        assert_eq!(open(&swapped, NETWORK, &identity(1)), Err(OpenError::Damaged));
    }

    #[test]
    fn one_changed_bit_opens_nothing() {
        let rotation = rotation();
        for at in 0..SEALED {
            let mut changed = rotation.clone();
            let mut sealed = *rotation.sealed.get(&node(1)).unwrap();
            sealed[at] ^= 1;
            changed.sealed.insert(&node(1), sealed);
            assert_eq!(open(&changed, NETWORK, &identity(1)), Err(OpenError::Damaged), "bit 0 of byte {at}");
        }
        let mut ephemeral = rotation.ephemeral;
        ephemeral[0] ^= 1;
        assert_eq!(open(&Rotation { ephemeral, ..rotation }, NETWORK, &identity(1)), Err(OpenError::Damaged));
    }

    /// Points with which everybody agrees on zero (RFC 7748 §6.1).
    #[test]
    fn low_order_points_agree_on_nothing() {
        let one = [&[1_u8][..], &[0; 31]].concat().try_into().unwrap();
        for ephemeral in [[0; 32], one] {
            assert_eq!(open(&Rotation { ephemeral, ..rotation() }, NETWORK, &identity(1)), Err(OpenError::Damaged));
        }
        // As Ed25519 keys: the identity, and a point of order two.
        let mut order_two = [0xff; 32];
        (order_two[0], order_two[31]) = (0xec, 0x7f);
        let weak = [one, order_two].map(NodeId::from_bytes);
        let nobody = seal(NETWORK, 2, Duration::ZERO, &secret(), weak).unwrap();
        assert!(nobody.sealed.is_empty());
    }

    /// Computed apart from this code (Python), so that no change of it goes unnoticed: nodes of different releases must open
    /// each other's.
    #[test]
    fn known_answer() {
        let private = PrivateKey::from_private_key(&X25519, &[7; 32]).unwrap();
        let ephemeral = private.compute_public_key().unwrap().as_ref().try_into().unwrap();
        let to = Associated { network: NETWORK, generation: 2, member: node(1) };
        let sealed = seal_to(&private, &ephemeral, to, &secret()).unwrap();
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&ephemeral), "13be4feaeaf204c7fd3358fc9c00721881d174278128227ec674f37f7fe97b6d");
        assert_eq!(
            hex(&sealed),
            "89e7d3655c7da999f82c47925f2660504c1fe19d50d12e208f71c3e71a730d7760484eb8385ee487cd4ca86125775ca4"
        );
        assert_eq!(open_from(&identity(1), &ephemeral, to, &sealed), Some(secret()));
    }
}
