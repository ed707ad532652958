//! Writing a token: Base64 of YAML, in edgevpn's order and byte for byte as it writes.

use base64::{Engine, engine::general_purpose::STANDARD};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{
    Native, Token,
    otp::hex,
    parse::{MAX_TEXT, VERSION},
};

impl Token {
    /// The token's text: one line, without its end. Parts of a parsed text that nobody here knows are not in it.
    pub fn to_text(&self) -> Zeroizing<String> {
        let check = self.native.is_some().then(|| self.check());
        Zeroizing::new(STANDARD.encode(self.yaml(check.as_deref()).as_bytes()))
    }

    /// Eight hexadecimal digits over everything else in the token, so that a character changed on the way is noticed rather
    /// than leading to a network of its own. No secret is at risk: 32 bits of a hash of 1000.
    pub(super) fn check(&self) -> String {
        hex(&Sha256::digest(self.yaml(None).as_bytes())[..4])
    }

    fn yaml(&self, check: Option<&str>) -> Zeroizing<String> {
        // Large enough at once: a text that grows leaves copies behind.
        let mut yaml = Zeroizing::new(String::with_capacity(MAX_TEXT));
        let mut line = |key: &str, value: &str| {
            yaml.push_str(key);
            yaml.push_str(value);
            yaml.push('\n');
        };
        if let Some(native) = &self.native {
            line("p2pfed:", "");
            line("  version: ", &VERSION.to_string());
            line("  generation: ", &native.generation.to_string());
            line("  strict: ", &native.strict.to_string());
            for (key, value) in native.optional() {
                line(key, &scalar(&value));
            }
            if let Some(check) = check {
                // In quotes: some look like numbers.
                line("  check: ", &format!("\"{check}\""));
            }
        }
        line("otp:", "");
        for (name, one_time) in [("  dht:", &self.dht), ("  crypto:", &self.crypto)] {
            line(name, "");
            line("    interval: ", &one_time.interval.to_string());
            line("    key: ", &scalar(one_time.key.expose()));
            line("    length: ", &one_time.length.to_string());
        }
        line("room: ", &scalar(self.room.expose()));
        line("rendezvous: ", &scalar(self.rendezvous.expose()));
        line("mdns: ", &scalar(self.mdns.expose()));
        line("max_message_size: ", &self.max_message_size.to_string());
        yaml
    }
}

impl Native {
    /// What stands in the section only where it is said.
    fn optional(&self) -> impl Iterator<Item = (&'static str, Zeroizing<String>)> {
        let issuer = self.issuer.as_ref().map(|issuer| ("  issuer: ", base64(issuer.as_bytes())));
        let secret = self.secret.as_ref().map(|secret| ("  secret: ", base64(secret.as_bytes())));
        let invite = self.invite.as_ref().map(|invite| ("  invite: ", base64(&invite.to_bytes())));
        [issuer, secret, invite].into_iter().flatten()
    }
}

fn base64(bytes: &[u8]) -> Zeroizing<String> {
    Zeroizing::new(STANDARD.encode(bytes))
}

/// A text as YAML: plain where it can be nothing else, as edgevpn's secrets are, and else in double quotes.
fn scalar(text: &str) -> Zeroizing<String> {
    // Every other word of YAML is shorter (`false`) ...
    const SHORTEST_PLAIN: usize = 6;
    // ... and every number starts with a digit and has only these letters (`0xBEEF`, `0o17`, `1e9`).
    let is_number = text.starts_with(|first: char| first.is_ascii_digit())
        && text.chars().all(|c| c.is_ascii_hexdigit() || matches!(c.to_ascii_lowercase(), 'x' | 'o'));
    if text.len() >= SHORTEST_PLAIN && !is_number && text.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Zeroizing::new(text.to_owned());
    }
    let mut quoted = Zeroizing::new(String::with_capacity(10 * text.len() + 2));
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            ' '..='~' => quoted.push(c),
            _ => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use proptest::prelude::*;

    use super::*;
    use crate::token::{
        Mint, OneTime, Secret,
        parse::tests::{GOLDEN, golden},
    };

    #[test]
    fn writes_edgevpns_token_byte_for_byte() {
        assert_eq!(*golden().to_text(), GOLDEN);
    }

    #[test]
    fn what_is_minted_reads_back_and_is_edgevpns_yaml_with_our_section() {
        let token = Token::mint(&Mint::default()).unwrap();
        let text = token.to_text();
        assert_eq!(Token::parse(&text).unwrap(), token);
        let yaml = String::from_utf8(STANDARD.decode(text.as_bytes()).unwrap()).unwrap();
        let keys: Vec<_> = yaml.lines().map(|line| line.split(':').next().unwrap()).collect();
        let expected = [
            "p2pfed",
            "  version",
            "  generation",
            "  strict",
            "  check",
            "otp",
            "  dht",
            "    interval",
            "    key",
            "    length",
            "  crypto",
            "    interval",
            "    key",
            "    length",
            "room",
            "rendezvous",
            "mdns",
            "max_message_size",
        ];
        assert_eq!(keys, expected);
        assert!(yaml.starts_with("p2pfed:\n  version: 1\n  generation: 1\n  strict: true\n"));
    }

    proptest! {
        #[test]
        fn whatever_was_read_is_written_and_read_again(
            keys in proptest::array::uniform4("\\PC{1,20}|[0-9a-fxo]{1,9}|true|null|~|.{1,20}|[0-9.e+-]{1,8}"),
            mdns in "[a-z0-9_#:-]{1,63}",
            dht in (1u64.., 1usize..=44), crypto in (1u64.., 1usize..=44),
            native in proptest::option::of((1u32.., any::<bool>())),
        ) {
            let [dht_key, crypto_key, room, rendezvous] = keys.map(Secret::new);
            let one_time = |(interval, length), key| OneTime { interval: NonZeroU64::new(interval).unwrap(), key, length };
            let token = Token {
                dht: one_time(dht, dht_key), crypto: one_time(crypto, crypto_key), room, rendezvous, mdns: Secret::new(mdns), max_message_size: 1,
                native: native.map(|(generation, strict)| Native::plain(generation, strict)),
            };
            prop_assert_eq!(Token::parse(&token.to_text()), Ok(token));
        }
    }
}
