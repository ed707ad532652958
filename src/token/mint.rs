//! Making a token.

use std::num::NonZeroU64;

use rand::{TryCryptoRng, rngs::SysRng};
use zeroize::Zeroizing;

use super::{Error, FIRST_GENERATION, Native, OneTime, Secret, Token};
use crate::ledger::IssuerKey;

/// What edgevpn draws its secrets from: 62 characters.
const ALPHABET: &[u8; 62] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ1234567890";

/// Characters of a secret, 256 bits of 62 characters each; as edgevpn has it.
const SECRET_LENGTH: usize = 43;

/// The largest gossip message, as edgevpn has it.
const MAX_MESSAGE_SIZE: usize = 20 << 20;

/// How long a value lasts, as edgevpn's command line has it.
const INTERVAL_S: NonZeroU64 = NonZeroU64::new(360).unwrap();

/// What a new token shall be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mint {
    /// Whether only nodes that pass admission take part. Default true; false is for networks in which nodes of edgevpn and LocalAI
    /// take part as well.
    pub strict: bool,
    /// Seconds that a rendezvous lasts. Default 360. Nodes whose clocks differ by more than this may miss each other.
    pub dht_interval_s: NonZeroU64,
    /// Seconds that a gossip topic lasts. Default 360.
    pub crypto_interval_s: NonZeroU64,
    /// Whose word on roles counts. Default nobody's: every holder of the token may do everything. A network with an issuer
    /// is strict, whatever else is asked for.
    pub issuer: Option<IssuerKey>,
}

impl Default for Mint {
    fn default() -> Self {
        Self { strict: true, dht_interval_s: INTERVAL_S, crypto_interval_s: INTERVAL_S, issuer: None }
    }
}

impl Token {
    /// A token of a new network, with secrets from the operating system's generator.
    ///
    /// # Errors
    ///
    /// [`Error::NoRandomness`] if that generator fails.
    pub fn mint(mint: &Mint) -> Result<Self, Error> {
        Self::mint_from(mint, &mut SysRng)
    }

    fn mint_from(mint: &Mint, random: &mut impl TryCryptoRng) -> Result<Self, Error> {
        let mut draw = || secret(random);
        Ok(Self {
            dht: OneTime { interval: mint.dht_interval_s, key: draw()?, length: SECRET_LENGTH },
            crypto: OneTime { interval: mint.crypto_interval_s, key: draw()?, length: SECRET_LENGTH },
            room: draw()?,
            rendezvous: draw()?,
            mdns: draw()?,
            max_message_size: MAX_MESSAGE_SIZE,
            native: Some(Native {
                issuer: mint.issuer,
                ..Native::plain(FIRST_GENERATION, mint.strict || mint.issuer.is_some())
            }),
        })
    }
}

/// Draws a secret, each character equally likely.
fn secret(random: &mut impl TryCryptoRng) -> Result<Secret, Error> {
    /// Bytes from here on are thrown away: 256 is no multiple of 62, and the first characters would come up more often.
    const FAIR: u8 = 4 * ALPHABET.len() as u8;

    let mut text = String::with_capacity(SECRET_LENGTH);
    let mut bytes = Zeroizing::new([0; SECRET_LENGTH]);
    while text.len() < SECRET_LENGTH {
        random.try_fill_bytes(&mut *bytes).map_err(|error| Error::NoRandomness(error.to_string()))?;
        let fair = bytes.iter().filter(|byte| **byte < FAIR).map(|byte| char::from(ALPHABET[usize::from(byte % 62)]));
        text.extend(fair.take(SECRET_LENGTH - text.len()));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::{SeedableRng, TryRng, rngs::StdRng};

    use super::*;

    #[test]
    fn what_is_minted_is_what_was_asked_for() {
        let mint = Mint { strict: false, dht_interval_s: NonZeroU64::new(5).unwrap(), ..Mint::default() };
        let token = Token::mint(&mint).unwrap();
        assert!(!token.is_strict());
        assert_eq!((token.rendezvous_epochs().interval_s(), token.gossip_epochs().interval_s()), (5, 360));
        assert_eq!((token.generation(), token.max_message_size()), (1, 20_971_520));
        assert!(Token::mint(&Mint::default()).unwrap().is_strict());
    }

    #[test]
    fn a_network_with_an_issuer_is_strict_and_admits_by_invitation() {
        let issuer = Some(ed25519_dalek::SigningKey::from_bytes(&[9; 32]).verifying_key().into());
        let token = Token::mint(&Mint { issuer, strict: false, ..Mint::default() }).unwrap();
        assert!(token.is_strict() && token.issuer() == issuer && token.invite().is_none());
        assert_eq!(Token::parse(&token.to_text()), Ok(token));
    }

    #[test]
    fn secrets_are_43_of_the_alphabet_and_all_different() {
        let token = Token::mint(&Mint::default()).unwrap();
        let mut secrets =
            [&token.dht.key, &token.crypto.key, &token.room, &token.rendezvous].map(Secret::expose).to_vec();
        secrets.push(token.mdns_name());
        for secret in &secrets {
            assert_eq!(secret.len(), 43);
            assert!(secret.bytes().all(|byte| ALPHABET.contains(&byte)));
        }
        secrets.sort();
        secrets.dedup();
        assert_eq!(secrets.len(), 5);
        assert_ne!(token, Token::mint(&Mint::default()).unwrap());
    }

    /// With bytes taken modulo 62, the first eight characters would come up a quarter more often than the others.
    #[test]
    fn each_character_is_equally_likely() {
        let mut random = StdRng::seed_from_u64(1);
        let mut counts = BTreeMap::new();
        for _ in 0..20_000 {
            for byte in secret(&mut random).unwrap().expose().bytes() {
                *counts.entry(byte).or_insert(0u32) += 1;
            }
        }
        let expected = 20_000.0 * 43.0 / 62.0;
        let chi_squared: f64 = counts.values().map(|count| (f64::from(*count) - expected).powi(2) / expected).sum();
        // 61 degrees of freedom: 112 is the point that one fair run in ten thousand exceeds; this run is seeded.
        assert!(counts.len() == 62 && chi_squared < 112.0, "{chi_squared}");
    }

    #[test]
    fn a_generator_that_fails_mints_nothing() {
        #[derive(Debug, thiserror::Error)]
        #[error("dry")]
        struct Dry;
        struct Broken;
        impl TryRng for Broken {
            type Error = Dry;
            fn try_next_u32(&mut self) -> Result<u32, Dry> {
                Err(Dry)
            }
            fn try_next_u64(&mut self) -> Result<u64, Dry> {
                Err(Dry)
            }
            fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Dry> {
                Err(Dry)
            }
        }
        impl TryCryptoRng for Broken {}
        assert_eq!(Token::mint_from(&Mint::default(), &mut Broken), Err(Error::NoRandomness("dry".into())));
    }

    #[test]
    fn the_same_randomness_mints_the_same() {
        let mint = |seed| Token::mint_from(&Mint::default(), &mut StdRng::seed_from_u64(seed)).unwrap();
        assert_eq!(mint(7), mint(7));
        assert_ne!(mint(7), mint(8));
    }
}
