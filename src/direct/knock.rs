//! The first bytes on a direct connection: who they come from, and that they are fresh.
//!
//! ```text
//! tag u8 = 0x50 ‖ ticket id[16] ‖ number u64 ‖ mac[16]
//! mac = first 16 bytes of HMAC-SHA256(secret of the ticket, "p2p-fed/direct/1/knock" ‖ id ‖ number)
//! ```
//!
//! A worker answers nothing to whoever cannot say them, so a port that takes direct connections looks to a stranger like
//! one that does not. Each number is taken once: a knock that was overheard opens nothing.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::net::KNOCK as TAG;

/// Bytes of a knock.
pub(super) const LENGTH: usize = 1 + ID + 8 + MAC;

const ID: usize = 16;
const MAC: usize = 16;
const LABEL: &[u8] = b"p2p-fed/direct/1/knock";

/// Names a ticket.
pub(super) type Id = [u8; ID];

/// Shared by the two members that a ticket is for.
pub(super) type Secret = [u8; 32];

/// What is said before it is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Knock {
    pub(super) id: Id,
    pub(super) number: u64,
    mac: [u8; MAC],
}

impl Knock {
    pub(super) fn new(id: Id, number: u64, secret: &Secret) -> Self {
        Self { id, number, mac: mac(&id, number, secret) }
    }

    pub(super) fn is_proved_by(&self, secret: &Secret) -> bool {
        self.mac.ct_eq(&mac(&self.id, self.number, secret)).into()
    }

    pub(super) fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [TAG; LENGTH];
        let parts = self.id.into_iter().chain(self.number.to_be_bytes()).chain(self.mac);
        bytes.iter_mut().skip(1).zip(parts).for_each(|(byte, part)| *byte = part);
        bytes
    }

    pub(super) fn decode(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (&[tag], rest) = bytes.split_first_chunk()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (number, rest) = rest.split_first_chunk()?;
        let mac = rest.first_chunk()?;
        (tag == TAG).then_some(Self { id: *id, number: u64::from_be_bytes(*number), mac: *mac })
    }
}

fn mac(id: &Id, number: u64, secret: &Secret) -> [u8; MAC] {
    // A key of any length does.
    let Ok(mut hmac) = Hmac::<Sha256>::new_from_slice(secret) else { return [0; MAC] };
    hmac.update(LABEL);
    hmac.update(id);
    hmac.update(&number.to_be_bytes());
    let whole: [u8; 32] = hmac.finalize().into_bytes().into();
    whole.first_chunk().copied().unwrap_or_default()
}

/// The numbers that were taken: all below a window, and those in it whose bit is set (as in RFC 4303 §3.4.3).
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The number behind the highest one taken.
    next: u64,
    /// Bit 0 is `next - 1`.
    taken: u128,
}

impl Window {
    /// Takes `number`, if it was not taken and is not too old to tell.
    pub(super) fn take(&mut self, number: u64) -> bool {
        let Some(behind) = number.checked_add(1) else { return false };
        if behind > self.next {
            let ahead = u32::try_from(behind - self.next).unwrap_or(u32::MAX);
            self.taken = self.taken.checked_shl(ahead).unwrap_or(0) | 1;
            self.next = behind;
            return true;
        }
        let Some(bit) = u32::try_from(self.next - behind).ok().and_then(|back| 1_u128.checked_shl(back)) else {
            return false;
        };
        let is_fresh = self.taken & bit == 0;
        self.taken |= bit;
        is_fresh
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_knock_comes_back_and_opens_with_its_secret_alone() {
        let knock = Knock::new([7; 16], 258, &[9; 32]);
        let bytes = knock.encode();
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "50070707070707070707070707070707070000000000000102b2e0d890032490000610858fb31b8fc0");
        assert_eq!(Knock::decode(&bytes), Some(knock));
        assert!(knock.is_proved_by(&[9; 32]));
        assert!(!knock.is_proved_by(&[8; 32]));
    }

    #[test]
    fn a_changed_byte_opens_nothing() {
        let bytes = Knock::new([7; 16], 1, &[9; 32]).encode();
        for at in 0..LENGTH {
            let mut changed = bytes;
            changed[at] ^= 1;
            assert!(Knock::decode(&changed).is_none_or(|knock| !knock.is_proved_by(&[9; 32])), "byte {at}");
        }
    }

    proptest! {
        #[test]
        fn each_number_is_taken_once(numbers in prop::collection::vec(0_u64..400, 0..600)) {
            let mut window = Window::default();
            let mut taken = std::collections::HashSet::new();
            for number in numbers {
                let highest = taken.iter().max().copied();
                let is_taken = window.take(number);
                prop_assert!(!(is_taken && taken.contains(&number)), "{number} twice");
                let is_recent = highest.is_none_or(|highest: u64| number + 128 > highest);
                prop_assert!(is_taken || taken.contains(&number) || !is_recent, "{number} was refused for nothing");
                if is_taken {
                    taken.insert(number);
                }
            }
        }
    }

    #[test]
    fn the_highest_number_does_not_overflow() {
        let mut window = Window::default();
        assert!(!window.take(u64::MAX));
        assert!(window.take(u64::MAX - 1));
        assert!(!window.take(u64::MAX - 1));
        assert!(!window.take(0), "too old to tell");
    }
}
