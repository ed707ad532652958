//! Reading a token.
//!
//! As Go reads it (standard alphabet, padded, line breaks skipped), so that whatever edgevpn takes is taken here, except for
//! what would make edgevpn panic or go deaf.

use std::num::NonZeroU64;

use base64::{
    DecodeError, Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig, general_purpose::STANDARD},
};
use ed25519_dalek::VerifyingKey;
use serde_yaml::{Mapping, Value};
use zeroize::Zeroizing;

use super::{Error, FIRST_GENERATION, GenerationSecret, Invite, Native, OneTime, Secret, Token, otp::TEXT_LENGTH};
use crate::ledger::IssuerKey;

/// Bytes of the longest text read as a token. edgevpn's have about 500, ours about 570, with an invitation 1100; this leaves room for longer
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
            _ => token.check_invite().map(|()| token),
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
    let issuer = issuer(&mut section)?;
    if issuer.is_some() && !strict {
        return Err(Error::Invalid { key: "p2pfed.strict", expected: "true in a network with an issuer" });
    }
    let secret = generation_secret(&mut section, generation, issuer.is_some())?;
    let invite = bytes(&mut section, "p2pfed.invite")?.map(|bytes| Invite::from_bytes(&bytes)).transpose()?;
    if issuer.is_none() && invite.is_some() {
        return Err(Error::Missing("p2pfed.issuer"));
    }
    let check = text(&mut section, "p2pfed.check")?;
    let native = Native { generation, strict, issuer, secret, invite };
    if section.is_empty() { Ok(Some((native, check))) } else { Err(Error::Unknown) }
}

fn issuer(section: &mut Mapping) -> Result<Option<IssuerKey>, Error> {
    let key = "p2pfed.issuer";
    let Some(bytes) = bytes(section, key)? else { return Ok(None) };
    // One that signs nothing, or for which anybody can sign, is nobody's.
    let issuer = <[u8; 32]>::try_from(&**bytes).ok().and_then(|bytes| VerifyingKey::from_bytes(&bytes).ok());
    let issuer = issuer.filter(|issuer| !issuer.is_weak()).ok_or(Error::Invalid { key, expected: "an Ed25519 key" })?;
    Ok(Some(issuer.into()))
}

/// Later generations of a network with an issuer have a secret. (Without an issuer there is nobody who could tell it.)
fn generation_secret(
    section: &mut Mapping,
    generation: u32,
    is_issued: bool,
) -> Result<Option<GenerationSecret>, Error> {
    let key = "p2pfed.secret";
    let Some(bytes) = bytes(section, key)? else {
        return if is_issued && generation > FIRST_GENERATION { Err(Error::Missing(key)) } else { Ok(None) };
    };
    let expected = "32 bytes, in a later generation than the first of a network with an issuer";
    let secret = <[u8; 32]>::try_from(&**bytes).ok().filter(|_| is_issued && generation > FIRST_GENERATION);
    secret.map(GenerationSecret::from_bytes).map(Some).ok_or(Error::Invalid { key, expected })
}

/// A part that is bytes, if it is there.
fn bytes(section: &mut Mapping, key: &'static str) -> Result<Option<Zeroizing<Vec<u8>>>, Error> {
    let name = key.rsplit('.').next().unwrap_or(key);
    if !section.contains_key(name) {
        return Ok(None);
    }
    let text = Zeroizing::new(text(section, key)?);
    let decoded = STANDARD.decode(text.as_bytes()).map_err(|_| Error::Invalid { key, expected: "base64" })?;
    Ok(Some(Zeroizing::new(decoded)))
}

#[cfg(test)]
pub(super) mod tests {
    use ed25519_dalek::SigningKey;
    use proptest::prelude::*;

    use super::*;
    use crate::{
        ledger::Roles,
        token::{Mint, Terms},
    };

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

    /// The key of the network that [`issued`] is a token of.
    pub(in crate::token) fn issuer() -> SigningKey {
        SigningKey::from_bytes(&[9; 32])
    }

    /// The golden token as that of a network with an issuer.
    pub(in crate::token) fn issued() -> Token {
        let native = Native { issuer: Some(issuer().verifying_key().into()), ..Native::plain(1, true) };
        Token { native: Some(native), ..golden() }
    }

    /// A token with everything in it.
    fn invited() -> Token {
        let terms = Terms { roles: Roles::ALL, services: "*".parse().unwrap(), expires_unix_s: 0, once: true };
        let later = issued().with_generation(2, GenerationSecret::from_bytes([7; 32])).unwrap();
        later.inviting(terms, &issuer()).unwrap()
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
            ("p2pfed.secret", "32 bytes, in a later generation than the first of a network with an issuer"),
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
            let check = Token { native: Some(Native::plain(generation, strict)), ..golden() }.check();
            with(&format!("{{version: 1, generation: {generation}, strict: {strict}, check: '{check}'}}"))
        };
        let token = checked(3, true).unwrap();
        assert!(token.is_strict());
        assert_eq!(token.generation(), 3);
        assert!(!checked(1, false).unwrap().is_strict());
        assert_eq!(with("{version: 1, generation: 1, strict: true}"), Err(Error::Missing("p2pfed.check")));
        assert_eq!(with("{version: 1, generation: 1, strict: true, check: '00000000'}"), Err(Error::Damaged));
        assert_eq!(with("{version: 2, novelty: 1}"), Err(Error::Newer(2)));
        assert_eq!(with("{version: 1, generation: 1, strict: true, check: a, novelty: x}"), Err(Error::Unknown));
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
    fn what_an_issuer_adds_is_read_strictly() {
        let yaml = |token: &Token| String::from_utf8(STANDARD.decode(&*token.to_text()).unwrap()).unwrap();
        let token = invited();
        let whole = yaml(&token);
        assert_eq!(parse_yaml(&whole), Ok(token));
        let without = |key: &str| {
            let kept = whole.lines().filter(|line| !line.starts_with(&format!("  {key}: ")));
            parse_yaml(&kept.flat_map(|line| [line, "\n"]).collect::<String>()).unwrap_err()
        };
        assert_eq!(without("issuer"), invalid("p2pfed.secret"));
        assert_eq!(without("secret"), Error::Missing("p2pfed.secret"));
        assert_eq!(without("invite"), Error::Damaged, "the check covers it");
        let with = |key: &str, value: &str| {
            let line = |line: &str| {
                let changed = format!("  {key}: {value}");
                if line.starts_with(&format!("  {key}: ")) { changed } else { line.to_owned() }
            };
            parse_yaml(&whole.lines().map(|text| line(text) + "\n").collect::<String>()).unwrap_err()
        };
        let base64 = |bytes: &[u8]| format!("\"{}\"", STANDARD.encode(bytes));
        assert_eq!(
            with("strict", "false"),
            Error::Invalid { key: "p2pfed.strict", expected: "true in a network with an issuer" }
        );
        let weak = [&[1_u8][..], &[0; 31]].concat();
        let no_point = [&[2_u8][..], &[0; 31]].concat();
        let no_issuer = Error::Invalid { key: "p2pfed.issuer", expected: "an Ed25519 key" };
        for bytes in [&weak[..], &no_point, &[9; 31], &[9; 33]] {
            assert_eq!(with("issuer", &base64(bytes)), no_issuer, "{bytes:?}");
        }
        let other = SigningKey::from_bytes(&[8; 32]).verifying_key().to_bytes();
        assert_eq!(with("issuer", &base64(&other)), Error::Damaged);
        assert_eq!(with("secret", &base64(&[7; 31])), invalid("p2pfed.secret"));
        assert_eq!(with("secret", &base64(&[8; 32])), Error::Damaged);
        assert_eq!(with("secret", "\"not base64\""), Error::Invalid { key: "p2pfed.secret", expected: "base64" });
        assert_eq!(with("secret", ""), Error::Missing("p2pfed.secret"));
        assert_eq!(with("invite", &base64(&[0; 40])), Error::InvitationDamaged);
        assert_eq!(with("generation", "1"), invalid("p2pfed.secret"));
        let open = yaml(&Token::mint(&Mint::default()).unwrap());
        let added = |line: &str| parse_yaml(&open.replacen("  check:", &format!("  {line}\n  check:"), 1)).unwrap_err();
        assert_eq!(added(&format!("secret: {}", base64(&[7; 32]))), invalid("p2pfed.secret"));
        assert_eq!(
            added(&format!("invite: {}", base64(&invited().invite().unwrap().to_bytes()))),
            Error::Missing("p2pfed.issuer")
        );
    }

    #[test]
    fn a_later_generation_without_a_secret_is_what_it_was() {
        let later = Token { native: Some(Native::plain(3, true)), ..golden() };
        assert_eq!(Token::parse(&later.to_text()).unwrap(), later);
        let first = Token { native: Some(Native::plain(1, true)), ..golden() };
        assert_ne!(later.network_id(), first.network_id());
    }

    #[test]
    fn no_changed_character_makes_another_member() {
        for minted in [Token::mint(&Mint::default()).unwrap().to_text(), invited().to_text()] {
            no_changed_character_makes_another_member_of(&minted);
        }
    }

    fn no_changed_character_makes_another_member_of(minted: &str) {
        for at in 0..minted.len() {
            for other in ["A", "b", "7", "+"] {
                let mut text = minted.to_string();
                text.replace_range(at..=at, other);
                let Ok(damaged) = Token::parse(&text) else { continue };
                // What was changed had no meaning, or the name of our section: then it is no member of a strict network.
                let original = Token::parse(minted).unwrap();
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
