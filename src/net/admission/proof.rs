//! The proof that a peer holds the token: who says what, and what the MAC covers. Pure.
//!
//! One round trip for the dialler, on the first stream of the connection, before any other protocol exists on it:
//!
//! ```text
//! dialler   → nonce_d (32)
//! listener  → nonce_l (32) ‖ proof (40) ‖ proof (40)         of the newest generation, and of the one before
//! dialler   → proof (40)                                      of the newer of them that it knows
//! ```
//!
//! where a proof is `clock (8, masked) ‖ MAC (32)`. Without an older generation the second proof is random: nobody
//! without the key can tell. In a network with an issuer both ends show their credentials then:
//!
//! ```text
//! dialler   → length u16 ‖ credential
//! listener  → 0 ‖ length u16 ‖ credential, or why not u8
//! ```
//!
//! `MAC(role)` is HMAC-SHA256 under the admission key over the label, the role, the network, its issuer's key (zeros
//! without one), the generation, both peer ids, both nonces and the speaker's masked clock. Noise and TLS have authenticated the peer ids, so the MAC is bound
//! to this connection and cannot be spliced into another; the role stops reflection; the nonces stop replay. Without
//! the key every field looks random, so a stranger learns neither network nor clock.

use hmac::{Hmac, KeyInit, Mac};
use libp2p::PeerId;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    ledger::{IssuerKey, NetworkId},
    token::{AdmissionKey, Token},
};

const LABEL: &[u8] = b"p2p-fed/admit/1";

pub(super) const NONCE: usize = 32;
const MAC: usize = 32;
const CLOCK: usize = 8;
/// A masked clock and a MAC.
pub(super) const PROOF: usize = CLOCK + MAC;

pub(super) type Nonce = [u8; NONCE];

/// What every member of one generation knows.
#[derive(Debug)]
pub(in crate::net) struct Secret {
    /// The network of the token.
    pub(in crate::net) network: NetworkId,
    /// Who says what its nodes may do. A token that lost this on the way is of another network, rather than an open one.
    pub(in crate::net) issuer: Option<IssuerKey>,
    /// Its generation.
    pub(in crate::net) generation: u32,
    /// The secret.
    pub(in crate::net) key: AdmissionKey,
}

impl Secret {
    /// That of the generation of `token`.
    pub(in crate::net) fn of(token: &Token) -> Self {
        Self {
            network: token.network_id(),
            issuer: token.issuer(),
            generation: token.generation(),
            key: token.admission_key(),
        }
    }
}

/// Which end of the connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Role {
    Dialler = 1,
    Listener = 2,
}

/// Everything two ends agree on before the MACs.
#[derive(Debug)]
pub(super) struct Transcript {
    pub(super) dialler: PeerId,
    pub(super) listener: PeerId,
    pub(super) nonce_dialler: Nonce,
    pub(super) nonce_listener: Nonce,
}

impl Transcript {
    fn mac(&self, secret: &Secret, role: Role, clock: &[u8; CLOCK]) -> Hmac<Sha256> {
        let mut mac = keyed(secret);
        mac.update(LABEL);
        mac.update(&[role as u8]);
        mac.update(&secret.network.0);
        mac.update(secret.issuer.as_ref().map_or(&[0; 32], |issuer| issuer.as_bytes()));
        mac.update(&secret.generation.to_be_bytes());
        for peer in [&self.dialler, &self.listener] {
            let bytes = peer.to_bytes();
            mac.update(&(bytes.len() as u16).to_be_bytes());
            mac.update(&bytes);
        }
        mac.update(&self.nonce_dialler);
        mac.update(&self.nonce_listener);
        mac.update(clock);
        mac
    }

    /// What `role` sends to prove itself: its masked clock and the MAC.
    pub(super) fn prove(&self, secret: &Secret, role: Role, unix_ms: u64) -> [u8; PROOF] {
        let clock = self.mask(secret, role, unix_ms.to_be_bytes());
        let mut proof = [0; PROOF];
        proof[..CLOCK].copy_from_slice(&clock);
        proof[CLOCK..].copy_from_slice(&self.mac(secret, role, &clock).finalize().into_bytes());
        proof
    }

    /// The speaker's clock if `proof` is right, in constant time over its bytes.
    pub(super) fn check(&self, secret: &Secret, role: Role, proof: &[u8; PROOF]) -> Option<u64> {
        let mut clock = [0; CLOCK];
        clock.copy_from_slice(&proof[..CLOCK]);
        self.mac(secret, role, &clock).verify_slice(&proof[CLOCK..]).ok()?;
        Some(u64::from_be_bytes(self.mask(secret, role, clock)))
    }

    /// XOR with a pad that only members can compute and that is used once: its own inverse.
    fn mask(&self, secret: &Secret, role: Role, clock: [u8; CLOCK]) -> [u8; CLOCK] {
        let mut pad = keyed(secret);
        pad.update(b"p2p-fed/admit/1/clock");
        pad.update(&[role as u8]);
        pad.update(&self.nonce_dialler);
        pad.update(&self.nonce_listener);
        let pad = pad.finalize().into_bytes();
        let mut masked = clock;
        masked.iter_mut().zip(pad).for_each(|(byte, pad)| *byte ^= pad);
        masked
    }
}

fn keyed(secret: &Secret) -> Hmac<Sha256> {
    // HMAC pads a shorter key with zeros to the block of its hash (RFC 2104); done here, it cannot fail.
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(secret.key.as_bytes());
    Hmac::new((&*block).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn secret(key: u8, generation: u32) -> Secret {
        Secret { network: NetworkId([key; 16]), issuer: None, generation, key: AdmissionKey::from_bytes([key; 32]) }
    }

    fn transcript() -> Transcript {
        Transcript {
            dialler: PeerId::random(),
            listener: PeerId::random(),
            nonce_dialler: [1; 32],
            nonce_listener: [2; 32],
        }
    }

    #[test]
    fn members_prove_themselves_and_tell_their_clocks() {
        let (transcript, ours) = (transcript(), secret(7, 1));
        for role in [Role::Dialler, Role::Listener] {
            let proof = transcript.prove(&ours, role, 1_767_225_600_123);
            assert_eq!(transcript.check(&ours, role, &proof), Some(1_767_225_600_123));
        }
    }

    #[test]
    fn another_token_generation_role_or_peer_does_not_pass() {
        let (transcript, ours) = (transcript(), secret(7, 1));
        let proof = transcript.prove(&ours, Role::Dialler, 5);
        assert_eq!(transcript.check(&secret(8, 1), Role::Dialler, &proof), None);
        assert_eq!(transcript.check(&secret(7, 2), Role::Dialler, &proof), None);
        let governed = Secret { issuer: Some(IssuerKey::from_bytes([3; 32])), ..secret(7, 1) };
        assert_eq!(transcript.check(&governed, Role::Dialler, &proof), None, "a token that lost its issuer");
        assert_eq!(transcript.check(&ours, Role::Listener, &proof), None, "a proof reflected to its speaker");
        let spliced = Transcript { listener: PeerId::random(), ..transcript };
        assert_eq!(spliced.check(&ours, Role::Dialler, &proof), None, "a proof carried to another connection");
    }

    #[test]
    fn the_clock_is_not_in_the_clear() {
        let proof = transcript().prove(&secret(7, 1), Role::Listener, 1_767_225_600_123);
        assert_ne!(proof[..CLOCK], 1_767_225_600_123u64.to_be_bytes());
    }

    proptest! {
        #[test]
        fn one_flipped_bit_is_refused(bit in 0usize..PROOF * 8) {
            let (transcript, ours) = (transcript(), secret(7, 1));
            let mut proof = transcript.prove(&ours, Role::Dialler, 5);
            proof[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(transcript.check(&ours, Role::Dialler, &proof), None);
        }
    }
}
