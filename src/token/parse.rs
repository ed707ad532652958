//! Reading a token.
//!
//! As Go reads it (standard alphabet, padded, line breaks skipped), so that whatever edgevpn takes is taken here, except for
//! what would make edgevpn panic or go deaf.

use std::num::NonZeroU64;

use base64::{
    DecodeError, Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde_yaml::{Mapping, Value};
use zeroize::Zeroizing;

use super::{Error, Native, OneTime, Secret, Token, otp::TEXT_LENGTH};

/// Bytes of the longest text read as a token. edgevpn's have about 500, ours about 570; this leaves room for longer
/// keys and for parts that later versions add, and is too little to make the YAML parser work hard.
pub(super) const MAX_TEXT: usize = 16 << 10;

/// The version of the `p2pfed` section that this program reads and writes.
pub(super) const VERSION: u64 = 1;

/// Go's decoder takes any bits in the unused end of the last character.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical),
);

/// Characters of a DNS label (RFC 1035 §2.3.4).
const MAX_LABEL: usize = 63;

/// Characters of the mDNS name: with an instance label and `.local.` it must fit the 255 of a DNS name (RFC 1035 §2.3.4).
const MAX_MDNS_NAME: usize = 180;

/// The largest message a token may allow: no gossip needs a gibibyte, and a node must be able to hold one.
const MAX_MESSAGE_SIZE: u64 = 1 << 30;

impl Token {
    /// Reads a token. White space around it and line breaks within are skipped, as in a file.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the text, never what is in it. The same text fails again.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let yaml = decode(text)?;
        let Ok(yaml) = std::str::from_utf8(&yaml) else { return Err(Error::NotYaml) };
        // The parser's own message would quote what it stumbled on.
        let value = serde_yaml::from_str(yaml).map_err(|_| Error::NotYaml)?;
        let Value::Mapping(mut top) = value else { return Err(Error::NotYaml) };
        // The last value may have lost its end and still be a number. Whoever writes YAML ends the last line.
        if !yaml.ends_with('\n') {
            return Err(Error::CutOff);
        }

        let (native, check) = native(&mut top)?.unzip();
        let mut otp = section(&mut top, "otp")?;
        let mut dht = section(&mut otp, "otp.dht")?;
        let mut crypto = section(&mut otp, "otp.crypto")?;
        let token = Self {
            dht: OneTime {
                interval: interval(&mut dht, "otp.dht.interval")?,
                key: secret(&mut dht, "otp.dht.key")?,
                length: length(&mut dht, "otp.dht.length")?,
            },
            crypto: OneTime {
                interval: interval(&mut crypto, "otp.crypto.interval")?,
                key: secret(&mut crypto, "otp.crypto.key")?,
                length: length(&mut crypto, "otp.crypto.length")?,
            },
            room: secret(&mut top, "room")?,
            rendezvous: secret(&mut top, "rendezvous")?,
            mdns: mdns_name(&mut top)?,
            max_message_size: max_message_size(&mut top)?,
            native,
        };
        match check {
            Some(check) if check != token.check() => Err(Error::Damaged),
            _ => Ok(token),
        }
    }
}

fn decode(text: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    if text.len() > MAX_TEXT {
        return Err(Error::TooLong(text.len()));
    }
    let mut packed = Zeroizing::new(Vec::with_capacity(text.len()));
    packed.extend(text.trim().bytes().filter(|byte| !matches!(byte, b'\r' | b'\n')));
    if packed.is_empty() {
        return Err(Error::Empty);
    }
    let yaml = BASE64.decode(packed.as_slice()).map_err(|error| match error {
        DecodeError::InvalidByte(at, _) => Error::NotBase64 { at },
        _ => Error::CutOff,
    })?;
    Ok(Zeroizing::new(yaml))
}

/// Takes a part out of its mapping; `key` is the whole path of it. Go reads `null` as absent.
fn take(mapping: &mut Mapping, key: &'static str) -> Option<Value> {
    let name = key.rsplit('.').next().unwrap_or(key);
    mapping.remove(name).filter(|value| !value.is_null())
}

fn section(mapping: &mut Mapping, key: &'static str) -> Result<Mapping, Error> {
    match take(mapping, key) {
        Some(Value::Mapping(section)) => Ok(section),
        Some(_) => Err(Error::Invalid { key, expected: "a section" }),
        None => Err(Error::Missing(key)),
    }
}

fn text(mapping: &mut Mapping, key: &'static str) -> Result<String, Error> {
    match take(mapping, key) {
        Some(Value::String(text)) if !text.is_empty() => Ok(text),
        Some(Value::String(_)) | None => Err(Error::Missing(key)),
        Some(_) => Err(Error::Invalid { key, expected: "text, in quotes if it looks like a number" }),
    }
}

fn secret(mapping: &mut Mapping, key: &'static str) -> Result<Secret, Error> {
    text(mapping, key).map(Secret::new)
}

/// A whole number that passes `check`.
fn number<T>(
    mapping: &mut Mapping,
    key: &'static str,
    expected: &'static str,
    check: impl FnOnce(u64) -> Option<T>,
) -> Result<T, Error> {
    let value = take(mapping, key).ok_or(Error::Missing(key))?;
    value.as_u64().and_then(check).ok_or(Error::Invalid { key, expected })
}

fn interval(mapping: &mut Mapping, key: &'static str) -> Result<NonZeroU64, Error> {
    number(mapping, key, "a whole number of seconds above 0", NonZeroU64::new)
}

fn length(mapping: &mut Mapping, key: &'static str) -> Result<usize, Error> {
    number(mapping, key, "from 1 to 44", |length| {
        usize::try_from(length).ok().filter(|length| (1..=TEXT_LENGTH).contains(length))
    })
}

fn max_message_size(top: &mut Mapping) -> Result<usize, Error> {
    number(top, "max_message_size", "from 1 to 1073741824 bytes", |size| {
        usize::try_from(size).ok().filter(|_| (1..=MAX_MESSAGE_SIZE).contains(&size))
    })
}

fn mdns_name(top: &mut Mapping) -> Result<Secret, Error> {
    let name = text(top, "mdns")?;
    let is_label = |label: &str| {
        (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    if name.len() <= MAX_MDNS_NAME && name.split('.').all(is_label) {
        return Ok(Secret::new(name));
    }
    Err(Error::Invalid { key: "mdns", expected: "a DNS name: printable, no part of it longer than 63 characters" })
}

/// Our section, and the check in it.
fn native(top: &mut Mapping) -> Result<Option<(Native, String)>, Error> {
    if !top.contains_key("p2pfed") {
        return Ok(None);
    }
    let mut section = section(top, "p2pfed")?;
    let version =
        number(&mut section, "p2pfed.version", "a whole number above 0", |version| (version > 0).then_some(version))?;
    // Before anything else in it: what a later version says there is not ours to judge.
    if version > VERSION {
        return Err(Error::Newer(version));
    }
    let generation = number(&mut section, "p2pfed.generation", "from 1 to 4294967295", |generation| {
        u32::try_from(generation).ok().filter(|generation| *generation > 0)
    })?;
    let strict = match take(&mut section, "p2pfed.strict") {
        Some(Value::Bool(strict)) => strict,
        Some(_) => return Err(Error::Invalid { key: "p2pfed.strict", expected: "true or false" }),
        None => return Err(Error::Missing("p2pfed.strict")),
    };
    let check = text(&mut section, "p2pfed.check")?;
    if section.is_empty() { Ok(Some((Native { generation, strict }, check))) } else { Err(Error::Unknown) }
}

#[cfg(test)]
pub(super) mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;
    use crate::token::Mint;

    /// A token that edgevpn made, with secrets that are none.
    pub(in crate::token) const GOLDEN: &str = "b3RwOgogIGRodDoKICAgIGludGVydmFsOiAzNjAKICAgIGtleTogRERERERERERERERERERERERERERERERERERERERERERERERE\
        RERERERERAogICAgbGVuZ3RoOiA0MwogIGNyeXB0bzoKICAgIGludGVydmFsOiA5MDAwCiAgICBrZXk6IENDQ0NDQ0NDQ0NDQ0ND\
        Q0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0NDQ0MKICAgIGxlbmd0aDogNDMKcm9vbTogUlJSUlJSUlJSUlJSUlJSUlJSUlJSUlJS\
        UlJSUlJSUlJSUlJSUlJSUlJSUgpyZW5kZXp2b3VzOiBaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpaWlpa\
        Cm1kbnM6IE1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU1NTU0KbWF4X21lc3NhZ2Vfc2l6ZTogMjA5NzE1\
        MjAK";

    pub(in crate::token) fn golden() -> Token {
        Token::parse(GOLDEN).unwrap()
    }

    fn golden_yaml() -> String {
        String::from_utf8(STANDARD.decode(GOLDEN).unwrap()).unwrap()
    }

    fn parse_yaml(yaml: &str) -> Result<Token, Error> {
        Token::parse(&STANDARD.encode(yaml))
    }

    /// The golden token with one piece of its YAML replaced.
    fn edited(from: &str, to: &str) -> Result<Token, Error> {
        let yaml = golden_yaml();
        assert!(yaml.contains(from), "{from}");
        parse_yaml(&yaml.replacen(from, to, 1))
    }

    #[test]
    fn reads_and_writes_edgevpns_token_byte_for_byte() {
        let token = golden();
        assert_eq!((token.dht.interval.get(), token.dht.length), (360, 43));
        assert_eq!((token.crypto.interval.get(), token.crypto.length), (9000, 43));
        assert_eq!(token.dht.key.expose(), "D".repeat(43));
        assert_eq!(token.crypto.key.expose(), "C".repeat(43));
        assert_eq!(token.room.expose(), "R".repeat(43));
        assert_eq!(token.rendezvous.expose(), "Z".repeat(43));
        assert_eq!(token.mdns_name(), "M".repeat(43));
        assert_eq!(token.max_message_size(), 20_971_520);
        assert!(!token.is_strict());
        assert_eq!(token.generation(), 1);
        assert_eq!(GOLDEN.len(), 504);
        assert_eq!(*token.to_text(), GOLDEN);
    }

    #[test]
    fn white_space_of_a_file_does_not_matter() {
        let wrapped: Vec<_> = GOLDEN.as_bytes().chunks(76).map(|line| std::str::from_utf8(line).unwrap()).collect();
        assert_eq!(Token::parse(&format!("\n  {}\r\n\n", wrapped.join("\r\n"))).unwrap(), golden());
        assert_eq!(Token::parse(&GOLDEN.replacen('o', " o", 1)), Err(Error::NotBase64 { at: 6 }));
    }

    #[test]
    fn formatting_and_unknown_keys_do_not_matter() {
        let yaml = golden_yaml().replace("room: ", "extra: {a: [1]}\nroom:    ").replace("RRR\n", "RRR # a comment\n");
        let token = parse_yaml(&yaml).unwrap();
        assert_eq!(token, golden());
        assert_eq!(token.network_id(), golden().network_id());
        assert_eq!(*token.to_text(), GOLDEN);
    }

    #[test]
    fn every_cut_is_noticed() {
        let minted = Token::mint(&Mint { strict: false, ..Mint::default() }).unwrap().to_text();
        for text in [GOLDEN, &minted] {
            for end in 0..text.len() {
                assert!(Token::parse(&text[..end]).is_err(), "{end}");
            }
        }
    }

    #[test]
    fn says_what_is_wrong_with_the_text() {
        assert_eq!(Token::parse(" \n"), Err(Error::Empty));
        assert_eq!(Token::parse(&"A".repeat(MAX_TEXT + 1)), Err(Error::TooLong(MAX_TEXT + 1)));
        assert_eq!(Token::parse("not-a-token"), Err(Error::NotBase64 { at: 3 }));
        assert_eq!(Token::parse(GOLDEN.trim_end_matches('K')), Err(Error::CutOff));
        assert_eq!(Token::parse(&format!("{}=", GOLDEN)), Err(Error::NotBase64 { at: 504 }));
        assert_eq!(parse_yaml("hello\n"), Err(Error::NotYaml));
        assert_eq!(parse_yaml("{a: b\n"), Err(Error::NotYaml));
        assert_eq!(parse_yaml("a: 1\na: 2\n"), Err(Error::NotYaml));
        assert_eq!(Token::parse(&STANDARD.encode([0xff, 0xfe, b'\n'])), Err(Error::NotYaml));
        assert_eq!(parse_yaml(golden_yaml().trim_end()), Err(Error::CutOff));
    }

    #[test]
    fn every_part_must_be_there() {
        for key in
            ["otp.dht.interval", "otp.dht.key", "otp.dht.length", "room", "rendezvous", "mdns", "max_message_size"]
        {
            let name = key.rsplit('.').next().unwrap();
            assert_eq!(edited(&format!("{name}:"), &format!("x{name}:")), Err(Error::Missing(key)));
        }
        assert_eq!(edited("crypto:", "cryptic:"), Err(Error::Missing("otp.crypto")));
        assert_eq!(edited("otp:", "ptp:"), Err(Error::Missing("otp")));
        assert_eq!(edited(&"M".repeat(43), "''"), Err(Error::Missing("mdns")));
        assert_eq!(edited(&"R".repeat(43), "~"), Err(Error::Missing("room")));
        assert_eq!(edited(&"R".repeat(43), "12"), Err(invalid("room")));
        assert_eq!(edited(&"R".repeat(43), "'12'").unwrap().room.expose(), "12");
    }

    fn invalid(key: &str) -> Error {
        let all = [
            ("room", "text, in quotes if it looks like a number"),
            ("otp.dht.length", "from 1 to 44"),
            ("otp.crypto.length", "from 1 to 44"),
            ("otp.dht.interval", "a whole number of seconds above 0"),
            ("max_message_size", "from 1 to 1073741824 bytes"),
            ("mdns", "a DNS name: printable, no part of it longer than 63 characters"),
            ("p2pfed.strict", "true or false"),
            ("p2pfed.generation", "from 1 to 4294967295"),
            ("p2pfed.version", "a whole number above 0"),
            ("p2pfed", "a section"),
        ];
        let (key, expected) = all.into_iter().find(|(candidate, _)| *candidate == key).unwrap();
        Error::Invalid { key, expected }
    }

    #[test]
    fn what_makes_edgevpn_panic_or_go_deaf_is_refused() {
        for length in ["0", "45", "-1", "43.5", "x", "[1]"] {
            assert_eq!(edited("length: 43", &format!("length: {length}")), Err(invalid("otp.dht.length")), "{length}");
        }
        assert_eq!(edited("43\nroom", "45\nroom"), Err(invalid("otp.crypto.length")));
        for interval in ["0", "-360", "360.5", "six"] {
            assert_eq!(edited("interval: 360", &format!("interval: {interval}")), Err(invalid("otp.dht.interval")));
        }
        assert_eq!(edited("interval: 360", "interval: 99999999999999999999"), Err(Error::NotYaml));
        for size in ["0", "-1", "1073741825"] {
            assert_eq!(edited("20971520", size), Err(invalid("max_message_size")));
        }
        for name in ["a b", "a..b", ".", "ü", &"m".repeat(64), &["m"; 91].join(".")] {
            assert_eq!(edited(&"M".repeat(43), &format!("'{name}'")), Err(invalid("mdns")), "{name}");
        }
        assert_eq!(edited(&"M".repeat(43), "_p2p._udp").unwrap().mdns_name(), "_p2p._udp");
        assert!(edited("length: 43", "length: 1").is_ok() && edited("length: 43", "length: 44").is_ok());
    }

    #[test]
    fn our_section_is_read_strictly() {
        let with = |section: &str| parse_yaml(&format!("{}p2pfed: {section}\n", golden_yaml()));
        let checked = |generation, strict| {
            let check = Token { native: Some(Native { generation, strict }), ..golden() }.check();
            with(&format!("{{version: 1, generation: {generation}, strict: {strict}, check: '{check}'}}"))
        };
        let token = checked(3, true).unwrap();
        assert!(token.is_strict());
        assert_eq!(token.generation(), 3);
        assert!(!checked(1, false).unwrap().is_strict());
        assert_eq!(with("{version: 1, generation: 1, strict: true}"), Err(Error::Missing("p2pfed.check")));
        assert_eq!(with("{version: 1, generation: 1, strict: true, check: '00000000'}"), Err(Error::Damaged));
        assert_eq!(with("{version: 2, novelty: 1}"), Err(Error::Newer(2)));
        assert_eq!(with("{version: 1, generation: 1, strict: true, check: a, issuer: x}"), Err(Error::Unknown));
        assert_eq!(with("{version: 1, strict: true}"), Err(Error::Missing("p2pfed.generation")));
        assert_eq!(with("{generation: 1, strict: true}"), Err(Error::Missing("p2pfed.version")));
        assert_eq!(with("{version: 1, generation: 1}"), Err(Error::Missing("p2pfed.strict")));
        assert_eq!(with("{version: 0, generation: 1, strict: true}"), Err(invalid("p2pfed.version")));
        assert_eq!(with("{version: 1, generation: 0, strict: true}"), Err(invalid("p2pfed.generation")));
        assert_eq!(with("{version: 1, generation: 1, strict: maybe}"), Err(invalid("p2pfed.strict")));
        assert_eq!(with("1"), Err(invalid("p2pfed")));
        assert_eq!(with(""), Err(Error::Missing("p2pfed")));
    }

    #[test]
    fn no_changed_character_makes_another_member() {
        let minted = Token::mint(&Mint::default()).unwrap().to_text();
        for at in 0..minted.len() {
            for other in ["A", "b", "7", "+"] {
                let mut text = minted.to_string();
                text.replace_range(at..=at, other);
                let Ok(damaged) = Token::parse(&text) else { continue };
                // What was changed had no meaning, or the name of our section: then it is no member of a strict network.
                let original = Token::parse(&minted).unwrap();
                let kept_out = damaged.admission_key() != original.admission_key();
                assert!(damaged == original || kept_out, "{at} {other}");
            }
        }
    }

    #[test]
    fn a_refusal_is_one_line_and_quotes_nothing() {
        let secret = "S3CR3Tsauce".repeat(4);
        let cases = [
            edited("interval: 360", &format!("interval: {secret}")),
            edited("room: ", &format!("room: {{{secret}: ")),
            edited("room: ", &format!("room: &{secret} *{secret} ")),
            edited("length: 43", &format!("{secret}\nlength: 43")),
            edited("otp:", &format!("otp: !{secret}")),
            edited("otp:", &format!("p2pfed: {{version: 1, generation: 1, strict: true, {secret}: {secret}}}\notp:")),
        ];
        for case in cases {
            let error = case.unwrap_err();
            for shown in [error.to_string(), format!("{error:?}")] {
                assert!(!shown.contains("S3CR3T") && !shown.contains('\n'), "{shown}");
            }
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?}", golden());
        for secret in ["DDD", "CCC", "RRR", "ZZZ", "MMM"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn equality_sees_each_part() {
        assert_eq!(golden(), golden());
        for (from, to) in [
            ("DDD", "DDE"),
            ("CCC", "CCD"),
            ("RRR", "RRS"),
            ("ZZZ", "ZZY"),
            ("MMM", "MMN"),
            ("interval: 360", "interval: 361"),
            ("interval: 9000", "interval: 9001"),
            ("length: 43", "length: 42"),
            ("20971520", "20971521"),
        ] {
            assert_ne!(edited(from, to).unwrap(), golden(), "{from}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}", yaml in "(otp|dht|room|[:{}&*!,\\[\\]'\"| \n0-9-]){0,60}\n") {
            let _ = Token::parse(&text);
            let _ = parse_yaml(&yaml);
        }

        #[test]
        fn no_flipped_bit_makes_it_panic(at in 0usize..504, bit in 0u8..7) {
            let mut bytes = GOLDEN.as_bytes().to_vec();
            bytes[at] ^= 1 << bit;
            if let Ok(text) = String::from_utf8(bytes) {
                let _ = Token::parse(&text);
            }
        }
    }
}
