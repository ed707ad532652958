//! Native keys: HKDF-SHA256 of all the token's secrets, one label for each.

use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{FIRST_GENERATION, Token, Windows, otp::hex, secret::secret_key};
use crate::ledger::NetworkId;

/// Keeps our keys apart from whatever else may be derived from the same token (RFC 5869 §3.1).
const SALT: &[u8] = b"p2p-fed token 1";

/// What a key is for. A label is never used twice.
mod label {
    pub(super) const NETWORK: &[u8] = b"network id";
    pub(super) const SHORT: &[u8] = b"short id";
    pub(super) const ADMISSION: &[u8] = b"admission";
    pub(super) const LATER_ADMISSION: &[u8] = b"admission of a later generation";
    pub(super) const GOSSIP: &[u8] = b"gossip topic";
}

/// The letters of a short id: no `i`, `l`, `o`, `u`, so that it survives being read aloud and copied by hand.
const LETTERS: [char; 32] = [
    '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f', 'g', 'h', 'j', 'k', 'm', 'n', 'p',
    'q', 'r', 's', 't', 'v', 'w', 'x', 'y', 'z',
];

secret_key! {
    /// Proves membership on a fresh connection. Lasts as long as the token's generation.
    AdmissionKey
}

#[cfg(test)]
impl AdmissionKey {
    /// A key of known bytes.
    pub(crate) fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl Token {
    /// Which network records belong to. Not secret, and says nothing about the token.
    pub fn network_id(&self) -> NetworkId {
        NetworkId(self.derive(label::NETWORK))
    }

    /// The network's name for people, logs and folders: eight letters and digits like `k7qd-93ma`. Not secret, and short
    /// enough for two networks to share one by chance; nothing may be decided by it.
    pub fn short_id(&self) -> String {
        let letters = self.derive::<8>(label::SHORT).map(|byte| LETTERS[usize::from(byte % 32)]);
        let (head, tail) = letters.split_at(4);
        head.iter().chain(&['-']).chain(tail).collect()
    }

    /// The key of the admission MAC: the one value that a generation's secret changes.
    pub fn admission_key(&self) -> AdmissionKey {
        let Some(secret) = self.generation_secret() else { return AdmissionKey(self.derive(label::ADMISSION)) };
        let root = self.key_material();
        let generation = self.generation().to_be_bytes();
        let mut material = Zeroizing::new(Vec::with_capacity(root.len() + size_of::<u32>() + secret.as_bytes().len()));
        material.extend_from_slice(&root);
        material.extend_from_slice(&generation);
        material.extend_from_slice(secret.as_bytes());
        AdmissionKey(derive(&material, label::LATER_ADMISSION))
    }

    /// The native gossip topics around this instant; they change with [`Self::gossip_epochs`].
    pub fn gossip_topics(&self, unix_s: u64) -> Windows<String> {
        self.gossip_epochs().at(unix_s).map(|counter| {
            let info = [label::GOSSIP, &counter.to_be_bytes()].concat();
            hex(&self.derive::<16>(&info))
        })
    }

    fn derive<const N: usize>(&self, info: &[u8]) -> [u8; N] {
        derive(&self.key_material(), info)
    }

    /// Every secret with its length before it, so that no two tokens run together into the same bytes; then the generation
    /// (the first, where a later one has a secret of its own), and one more byte in a strict network: a token whose section
    /// was lost on the way is no member, rather than a member that is less strict than the others.
    fn key_material(&self) -> Zeroizing<Vec<u8>> {
        let secrets =
            [&self.dht.key, &self.crypto.key, &self.room, &self.rendezvous].map(|secret| secret.expose().as_bytes());
        // Room for all of it at once: a vector that grows leaves copies behind.
        let size = secrets.iter().map(|secret| size_of::<u64>() + secret.len()).sum::<usize>() + size_of::<u32>() + 1;
        let mut material = Zeroizing::new(Vec::with_capacity(size));
        for secret in secrets {
            material.extend_from_slice(&(secret.len() as u64).to_be_bytes());
            material.extend_from_slice(secret);
        }
        let is_root = self.generation_secret().is_none();
        material.extend_from_slice(&if is_root { self.generation() } else { FIRST_GENERATION }.to_be_bytes());
        if self.is_strict() {
            material.push(1);
        }
        material
    }
}

fn derive<const N: usize>(material: &[u8], info: &[u8]) -> [u8; N] {
    const { assert!(N <= 255 * 32, "HKDF-SHA256 gives at most 255 blocks of 32 bytes") };
    let mut key = [0; N];
    if Hkdf::<Sha256>::new(Some(SALT), material).expand(info, &mut key).is_err() {
        unreachable!("the assertion above bounds the length");
    }
    key
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::token::{GenerationSecret, Mint, Native, Secret, parse::tests::golden};

    /// Computed apart from this code (Python's `hmac`), so that no change of it goes unnoticed: nodes of different
    /// releases must derive the same.
    #[test]
    fn known_answers() {
        let token = golden();
        assert_eq!(hex(&token.network_id().0), "363660e8cd511ab295261396bad2aa35");
        assert_eq!(token.short_id(), "k9rm-kjzb");
        assert_eq!(
            hex(token.admission_key().as_bytes()),
            "0da980c672b9de68b735791bd0ca93fabc4486f9c2487288d6c7133766e5db5d"
        );
        let topics = token.gossip_topics(1_767_225_600);
        assert_eq!(topics.previous, "148f601e5432b00350ebecc909c8c7a9");
        assert_eq!(topics.current, "0b9b47090d8e234ebbb2ef50f4fd96ba");
        assert_eq!(topics.next, "8e87c7377315d25b2790d3392aeae617");
    }

    /// All that a token derives, at one instant.
    fn derived(token: &Token) -> Vec<String> {
        let mut all = vec![hex(&token.network_id().0), token.short_id(), hex(token.admission_key().as_bytes())];
        all.extend(token.gossip_topics(1_767_225_600).iter().cloned());
        all
    }

    #[test]
    fn another_secret_or_generation_changes_everything() {
        let changes: [fn(&mut Token); 6] = [
            |token| token.dht.key = Secret::new("d".repeat(43)),
            |token| token.crypto.key = Secret::new("c".repeat(43)),
            |token| token.room = Secret::new("r".repeat(43)),
            |token| token.rendezvous = Secret::new("z".repeat(43)),
            |token| token.native = Some(Native::plain(2, false)),
            |token| token.native = Some(Native::plain(1, true)),
        ];
        let before = derived(&golden());
        for change in changes {
            let mut token = golden();
            change(&mut token);
            let after = derived(&token);
            assert!(before.iter().all(|value| !after.contains(value)), "{before:?} {after:?}");
        }
    }

    #[test]
    fn secrets_do_not_run_together() {
        let mut token = golden();
        token.room = Secret::new("R".repeat(42));
        token.rendezvous = Secret::new(format!("R{}", "Z".repeat(43)));
        assert!(derived(&golden()).iter().all(|value| !derived(&token).contains(value)));
    }

    #[test]
    fn a_section_that_says_what_its_absence_means_changes_no_key() {
        let mut compat = golden();
        compat.native = Some(Native::plain(1, false));
        assert_eq!(derived(&compat), derived(&golden()));
    }

    /// The golden token as a network's with an issuer, in this generation.
    fn issued(generation: u32, secret: Option<[u8; 32]>) -> Token {
        let issuer = Some(ed25519_dalek::SigningKey::from_bytes(&[9; 32]).verifying_key().into());
        let secret = secret.map(GenerationSecret::from_bytes);
        Token { native: Some(Native { issuer, secret, ..Native::plain(generation, true) }), ..golden() }
    }

    #[test]
    fn a_generations_secret_changes_the_admission_key_alone() {
        let (first, second) = (issued(1, None), issued(2, Some([7; 32])));
        assert_eq!(first.network_id(), second.network_id());
        assert_eq!(first.short_id(), second.short_id());
        assert_eq!(first.gossip_topics(1_767_225_600), second.gossip_topics(1_767_225_600));
        assert_eq!(first.rendezvous(1_767_225_600), second.rendezvous(1_767_225_600));
        let others = [first, issued(3, Some([7; 32])), issued(2, Some([8; 32]))];
        assert!(others.iter().all(|other| other.admission_key() != second.admission_key()));
        // Computed apart from this code (Python's `hmac`).
        assert_eq!(
            hex(second.admission_key().as_bytes()),
            "39f7589f2d056bfc7fbce4d85e1503da09f8d46c9d16853980576f353ff69620"
        );
    }

    #[test]
    fn an_issuer_changes_no_key() {
        let plain = Token { native: Some(Native::plain(1, true)), ..golden() };
        assert_eq!(derived(&issued(1, None)), derived(&plain));
    }

    #[test]
    fn each_label_has_a_key_of_its_own() {
        let mut values = derived(&Token::mint(&Mint::default()).unwrap());
        let count = values.len();
        values.sort();
        values.dedup();
        assert_eq!(values.len(), count);
    }

    proptest! {
        #[test]
        fn short_ids_look_like_short_ids(room in ".{1,60}") {
            let mut token = golden();
            token.room = Secret::new(room);
            let id = token.short_id();
            prop_assert_eq!(id.len(), 9);
            let fits = |(at, c)| if at == 4 { c == '-' } else { LETTERS.contains(&c) };
            prop_assert!(id.char_indices().all(fits));
        }
    }
}
