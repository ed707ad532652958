//! The proof that a peer holds the token: who says what, and what the MAC covers. Pure.
//!
//! One round trip for the dialler, on the first stream of the connection, before any other protocol exists on it:
//!
//! ```text
//! dialler   → nonce_d (32)
//! listener  → nonce_l (32) ‖ clock_l (8, masked) ‖ MAC(listener) (32)
//! dialler   → clock_d (8, masked) ‖ MAC(dialler) (32)
//! ```
//!
//! `MAC(role)` is HMAC-SHA256 under the admission key over the label, the role, the network, the generation, both peer
//! ids, both nonces and the speaker's masked clock. Noise and TLS have authenticated the peer ids, so the MAC is bound
//! to this connection and cannot be spliced into another; the role stops reflection; the nonces stop replay. Without
//! the key every field looks random, so a stranger learns neither network nor clock.

use hmac::{Hmac, KeyInit, Mac};
use libp2p::PeerId;
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{ledger::NetworkId, token::AdmissionKey};

const LABEL: &[u8] = b"p2p-fed/admit/1";

pub(super) const NONCE: usize = 32;
pub(super) const MAC: usize = 32;
pub(super) const CLOCK: usize = 8;

pub(super) type Nonce = [u8; NONCE];

/// What every member knows.
#[derive(Debug)]
pub(in crate::net) struct Credentials {
    /// The network of the token.
    pub(in crate::net) network: NetworkId,
    /// Its generation.
    pub(in crate::net) generation: u32,
    /// The secret.
    pub(in crate::net) key: AdmissionKey,
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
    fn mac(&self, credentials: &Credentials, role: Role, clock: &[u8; CLOCK]) -> Hmac<Sha256> {
        let mut mac = keyed(credentials);
        mac.update(LABEL);
        mac.update(&[role as u8]);
        mac.update(&credentials.network.0);
        mac.update(&credentials.generation.to_be_bytes());
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
    pub(super) fn prove(&self, credentials: &Credentials, role: Role, unix_ms: u64) -> [u8; CLOCK + MAC] {
        let clock = self.mask(credentials, role, unix_ms.to_be_bytes());
        let mut proof = [0; CLOCK + MAC];
        proof[..CLOCK].copy_from_slice(&clock);
        proof[CLOCK..].copy_from_slice(&self.mac(credentials, role, &clock).finalize().into_bytes());
        proof
    }

    /// The speaker's clock if `proof` is right, in constant time over its bytes.
    pub(super) fn check(&self, credentials: &Credentials, role: Role, proof: &[u8; CLOCK + MAC]) -> Option<u64> {
        let mut clock = [0; CLOCK];
        clock.copy_from_slice(&proof[..CLOCK]);
        self.mac(credentials, role, &clock).verify_slice(&proof[CLOCK..]).ok()?;
        Some(u64::from_be_bytes(self.mask(credentials, role, clock)))
    }

    /// XOR with a pad that only members can compute and that is used once: its own inverse.
    fn mask(&self, credentials: &Credentials, role: Role, clock: [u8; CLOCK]) -> [u8; CLOCK] {
        let mut pad = keyed(credentials);
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

fn keyed(credentials: &Credentials) -> Hmac<Sha256> {
    // HMAC pads a shorter key with zeros to the block of its hash (RFC 2104); done here, it cannot fail.
    let mut block = Zeroizing::new([0; 64]);
    block[..32].copy_from_slice(credentials.key.as_bytes());
    Hmac::new((&*block).into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn credentials(key: u8, generation: u32) -> Credentials {
        Credentials { network: NetworkId([key; 16]), generation, key: AdmissionKey::from_bytes([key; 32]) }
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
        let (transcript, ours) = (transcript(), credentials(7, 1));
        for role in [Role::Dialler, Role::Listener] {
            let proof = transcript.prove(&ours, role, 1_767_225_600_123);
            assert_eq!(transcript.check(&ours, role, &proof), Some(1_767_225_600_123));
        }
    }

    #[test]
    fn another_token_generation_role_or_peer_does_not_pass() {
        let (transcript, ours) = (transcript(), credentials(7, 1));
        let proof = transcript.prove(&ours, Role::Dialler, 5);
        assert_eq!(transcript.check(&credentials(8, 1), Role::Dialler, &proof), None);
        assert_eq!(transcript.check(&credentials(7, 2), Role::Dialler, &proof), None);
        assert_eq!(transcript.check(&ours, Role::Listener, &proof), None, "a proof reflected to its speaker");
        let spliced = Transcript { listener: PeerId::random(), ..transcript };
        assert_eq!(spliced.check(&ours, Role::Dialler, &proof), None, "a proof carried to another connection");
    }

    #[test]
    fn the_clock_is_not_in_the_clear() {
        let proof = transcript().prove(&credentials(7, 1), Role::Listener, 1_767_225_600_123);
        assert_ne!(proof[..CLOCK], 1_767_225_600_123u64.to_be_bytes());
    }

    proptest! {
        #[test]
        fn one_flipped_bit_is_refused(bit in 0usize..(CLOCK + MAC) * 8) {
            let (transcript, ours) = (transcript(), credentials(7, 1));
            let mut proof = transcript.prove(&ours, Role::Dialler, 5);
            proof[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(transcript.check(&ours, Role::Dialler, &proof), None);
        }
    }
}
