//! edgevpn's rotating values: where its nodes meet, which topic they gossip on, with what they seal.
//!
//! Not the digits of RFC 6238: the one-time text is the first characters of the Base64 of HMAC-SHA256(key, counter),
//! counter as eight bytes, big-endian; the key is the token's text as it is, not decoded. What nodes use is the MD5 of
//! that text in hex. Nothing native rests on these values.

use base64::{Engine, engine::general_purpose::STANDARD};
use md5::{Digest, Md5};
use totp_rs::{Algorithm, Builder};
use zeroize::Zeroizing;

use super::{Epochs, OneTime, Secret, Token, Windows, secret::secret_key};

/// Characters of the longest one-time text: Base64 of 32 bytes, padding included.
pub(super) const TEXT_LENGTH: usize = 44;

secret_key! {
    /// edgevpn's AES-256 key for gossip: 32 characters of hex, used as they are.
    SealingKey
}

impl Token {
    /// The namespaces under which nodes of this network advertise and search in the DHT.
    pub fn rendezvous(&self, unix_s: u64) -> Windows<String> {
        let one_time = Otp::new(&self.dht, &self.dht.key);
        self.rendezvous_epochs().at(unix_s).map(|counter| one_time.digest(counter))
    }

    /// When [`Self::rendezvous`] changes.
    pub fn rendezvous_epochs(&self) -> Epochs {
        Epochs::new(self.dht.interval)
    }

    /// The pubsub topics of edgevpn's ledger.
    pub fn edgevpn_topic(&self, unix_s: u64) -> Windows<String> {
        let one_time = Otp::new(&self.crypto, &self.room);
        self.gossip_epochs().at(unix_s).map(|counter| one_time.digest(counter))
    }

    /// The keys with which edgevpn seals its ledger.
    pub fn sealing_key(&self, unix_s: u64) -> Windows<SealingKey> {
        let one_time = Otp::new(&self.crypto, &self.crypto.key);
        self.gossip_epochs().at(unix_s).map(|counter| {
            let text = Zeroizing::new(one_time.digest(counter));
            let mut key = SealingKey([0; 32]);
            key.0.copy_from_slice(text.as_bytes());
            key
        })
    }

    /// When [`Self::edgevpn_topic`], [`Self::sealing_key`] and [`Self::gossip_topics`] change.
    pub fn gossip_epochs(&self) -> Epochs {
        Epochs::new(self.crypto.interval)
    }
}

/// One-time texts of one key.
struct Otp {
    totp: totp_rs::Totp,
    interval: u64,
    length: usize,
}

impl Otp {
    fn new(of: &OneTime, key: &Secret) -> Self {
        let totp = Builder::new()
            .with_algorithm(Algorithm::SHA256)
            .with_step_duration(of.interval.get())
            .with_secret(key.expose().as_bytes())
            // Any key length: edgevpn's rule is the token's, not the RFC's.
            .build_noncompliant();
        Self { totp, interval: of.interval.get(), length: of.length }
    }

    fn text(&self, counter: u64) -> Zeroizing<String> {
        let mac = self.totp.sign(counter.saturating_mul(self.interval));
        let mut text = Zeroizing::new(STANDARD.encode(mac));
        text.truncate(self.length);
        text
    }

    /// The MD5 of the text, in hex.
    fn digest(&self, counter: u64) -> String {
        hex(&Md5::digest(self.text(counter).as_bytes()))
    }
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::parse::tests::golden;

    /// 2026-01-01T00:00:00Z.
    const NEW_YEAR: u64 = 1_767_225_600;

    #[test]
    fn rendezvous_is_edgevpns() {
        let token = golden();
        let otp = Otp::new(&token.dht, &token.dht.key);
        assert_eq!(token.rendezvous_epochs().at(NEW_YEAR).current, 4_908_960);
        assert_eq!(*otp.text(4_908_960), "UldKV3iR5jzqxA5opcu4i3dtlVve4i5B1s2fPZDXFZk");
        assert_eq!(token.rendezvous(NEW_YEAR).current, "d57f519ec2276f43871b30ba8e2b4ee1");
    }

    #[test]
    fn topic_is_edgevpns() {
        let token = golden();
        let otp = Otp::new(&token.crypto, &token.room);
        assert_eq!(token.gossip_epochs().at(NEW_YEAR).current, 196_358);
        let text = otp.text(196_358);
        assert_eq!(*text, "T+jbF/+cYhx8Cg7xt8QO5/HczB8DV9sMFpssmRZg6AY");
        assert_eq!(token.edgevpn_topic(NEW_YEAR).current, "5897720658134d72b255f2b40fde4a98");
        let public = Md5::digest(format!("{}public", *text));
        assert_eq!(hex(&public), "f18aa5c921706f023b47e8928c1fdf75");
    }

    #[test]
    fn sealing_key_is_edgevpns() {
        let token = golden();
        let otp = Otp::new(&token.crypto, &token.crypto.key);
        assert_eq!(*otp.text(196_358), "Xc238u1XDz0wB8IglK0rgpOYPeEsXwE1sqVjJ0XIDLs");
        let key = token.sealing_key(NEW_YEAR).current;
        assert_eq!(key.as_bytes(), b"32052bd3516367658e08ec872913ae4e");
        assert_eq!(hex(key.as_bytes()), "3332303532626433353136333637363538653038656338373239313361653465");
        assert_eq!(format!("{key:?}"), "***");
    }

    #[test]
    fn one_time_texts_are_edgevpns() {
        for of in crate::edgevpn::vectors::both().iter().flat_map(|vectors| &vectors.one_time) {
            let interval = of.interval.try_into().unwrap();
            let key = Secret::new(of.key.clone());
            let otp = Otp::new(&OneTime { interval, key: key.clone(), length: of.length }, &key);
            let counter = Epochs::new(interval).at(of.unix_s).current;
            assert_eq!((otp.text(counter).as_str(), otp.digest(counter)), (of.text.as_str(), of.md5.clone()));
        }
    }

    #[test]
    fn windows_follow_each_other() {
        let token = golden();
        let (now, later) = (token.rendezvous(NEW_YEAR), token.rendezvous(NEW_YEAR + 360));
        assert_eq!(now.current, later.previous);
        assert_eq!(now.next, later.current);
        assert_ne!(now.current, now.next);
        let (now, later) = (token.sealing_key(NEW_YEAR), token.sealing_key(NEW_YEAR + 9000));
        assert!(now.next == later.current && now.current != later.current);
    }

    #[test]
    fn the_first_window_has_no_other_before_it() {
        let rendezvous = golden().rendezvous(0);
        assert_eq!(rendezvous.previous, rendezvous.current);
        golden().rendezvous(u64::MAX);
    }

    #[test]
    fn a_short_length_cuts_the_text() {
        let mut token = golden();
        token.dht.length = 1;
        assert_eq!(*Otp::new(&token.dht, &token.dht.key).text(4_908_960), "U");
        token.dht.length = TEXT_LENGTH;
        assert!(Otp::new(&token.dht, &token.dht.key).text(4_908_960).ends_with("Zk="));
    }
}
