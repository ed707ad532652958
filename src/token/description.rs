//! What a token says, for people: every secret masked, and what is wrong with it.

use std::collections::BTreeSet;

use serde::Serialize;

use super::{OneTime, Secret, Token, invite::instant};
use crate::ledger::{Invitation, Roles};

/// Bits under which a secret counts as guessable.
const ENOUGH_BITS: f64 = 128.0;

/// Bits that one character of a one-time text carries: it is Base64.
const BITS_PER_CHARACTER: usize = 6;

/// Seconds under which ordinary clocks drift apart by a whole window between two looks at a time server.
const SHORT_INTERVAL_S: u64 = 30;

/// Bytes under which a gossip message of several records does not fit.
const SMALL_MESSAGE: usize = 64 << 10;

/// What a token says, secrets masked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Description {
    /// The network's short id.
    pub network: String,
    /// `p2p-fed` for a token with our section, `edgevpn` for one without.
    pub format: &'static str,
    /// Whether only nodes that pass admission take part; if not, edgevpn and LocalAI nodes may, too.
    pub strict: bool,
    /// How often the key of admission was replaced, counted from 1.
    pub generation: u32,
    /// The fingerprint of the issuer's public key. None in an open network, where every holder may do everything.
    pub issuer: Option<String>,
    /// What the issuer lets the machine with this token do. None in an open network, and in the issuer's own token.
    pub invitation: Option<InvitationDescription>,
    /// How the rendezvous is made.
    pub dht: OneTimeDescription,
    /// How edgevpn's gossip topic and sealing key are made; its interval is also that of the native topics.
    pub crypto: OneTimeDescription,
    /// The secret behind edgevpn's gossip topic.
    pub room: SecretDescription,
    /// The static rendezvous; used as one more secret only.
    pub rendezvous: SecretDescription,
    /// The name for multicast DNS. No secret on the local network, but none of anybody else's business.
    pub mdns: SecretDescription,
    /// The largest gossip message, in bytes.
    pub max_message_size: usize,
    /// What is wrong with the token, a line each.
    pub warnings: Vec<String>,
}

/// How one rotating value is made.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OneTimeDescription {
    /// Seconds that one value lasts.
    pub interval_s: u64,
    /// The secret behind it.
    pub key: SecretDescription,
    /// Characters of the one-time text that are used, of 44.
    pub length: usize,
}

/// An invitation. Its serial is no secret; the holder's key pair is not shown.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InvitationDescription {
    /// Which one, in 32 hexadecimal digits.
    pub serial: String,
    /// `serve`, `expose`, `relay`.
    pub roles: Vec<&'static str>,
    /// Pattern over the services that may be exposed, where any may be.
    pub services: String,
    /// From when on it is worth nothing. None: it does not expire.
    pub expires: Option<String>,
    /// Whether it is for the first node alone that shows it.
    pub once: bool,
}

/// A secret, masked.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SecretDescription {
    /// Always `***`.
    pub value: &'static str,
    /// How many characters it has.
    pub characters: usize,
}

impl Token {
    /// What the token says, secrets masked, and what is wrong with it at this instant.
    pub fn describe(&self, unix_s: u64) -> Description {
        Description {
            network: self.short_id(),
            format: if self.native.is_some() { "p2p-fed" } else { "edgevpn" },
            strict: self.is_strict(),
            generation: self.generation(),
            issuer: self.issuer().map(|issuer| issuer.fingerprint()),
            invitation: self.invite().map(|invite| describe_invitation(invite.invitation())),
            dht: describe_one_time(&self.dht),
            crypto: describe_one_time(&self.crypto),
            room: mask(self.room.expose()),
            rendezvous: mask(self.rendezvous.expose()),
            mdns: mask(self.mdns_name()),
            max_message_size: self.max_message_size,
            warnings: self.weaknesses().into_iter().chain(self.obstacle(unix_s)).collect(),
        }
    }

    /// Why no node can use it.
    fn obstacle(&self, unix_s: u64) -> Option<String> {
        self.check_expiry(unix_s).err().map(|error| error.to_string())
    }

    /// What is wrong with its secrets and periods, a line each. It can be used all the same.
    pub fn weaknesses(&self) -> Vec<String> {
        let secrets = [
            ("otp.dht.key", &self.dht.key),
            ("otp.crypto.key", &self.crypto.key),
            ("room", &self.room),
            ("rendezvous", &self.rendezvous),
        ];
        let mut warnings = Vec::new();
        for (at, (name, secret)) in secrets.iter().enumerate() {
            let bits = bits(secret);
            if bits < ENOUGH_BITS {
                warnings.push(format!(
                    "`{name}` can be guessed: {bits:.0} bits at most, {ENOUGH_BITS} are enough; mint a new token"
                ));
            }
            for (twin, other) in secrets.iter().skip(at + 1) {
                if secret.expose() == other.expose() {
                    warnings.push(format!("`{name}` and `{twin}` are the same; mint a new token"));
                }
            }
        }
        for (name, one_time) in [("otp.dht", &self.dht), ("otp.crypto", &self.crypto)] {
            let interval = one_time.interval.get();
            if interval < SHORT_INTERVAL_S {
                warnings.push(format!(
                    "`{name}.interval` is short: nodes whose clocks differ by {interval} s may miss each other"
                ));
            }
            let bits = one_time.length * BITS_PER_CHARACTER;
            if (bits as f64) < ENOUGH_BITS {
                warnings.push(format!(
                    "`{name}.length` is short: what edgevpn derives has {bits} bits, {ENOUGH_BITS} are enough"
                ));
            }
        }
        if self.max_message_size < SMALL_MESSAGE {
            warnings.push(format!("`max_message_size` is small: gossip needs {SMALL_MESSAGE} bytes"));
        }
        warnings
    }
}

fn describe_one_time(one_time: &OneTime) -> OneTimeDescription {
    OneTimeDescription {
        interval_s: one_time.interval.get(),
        key: mask(one_time.key.expose()),
        length: one_time.length,
    }
}

fn describe_invitation(invitation: &Invitation) -> InvitationDescription {
    let Roles { serve, expose, relay } = invitation.roles;
    let roles = [(serve, "serve"), (expose, "expose"), (relay, "relay")];
    InvitationDescription {
        serial: invitation.serial.to_string(),
        roles: roles.into_iter().filter_map(|(has, role)| has.then_some(role)).collect(),
        services: invitation.services.to_string(),
        expires: (invitation.expires_unix_s != 0).then(|| instant(invitation.expires_unix_s)),
        once: invitation.once,
    }
}

fn mask(secret: &str) -> SecretDescription {
    SecretDescription { value: "***", characters: secret.chars().count() }
}

/// An upper bound, from what can be seen: so many characters, drawn from as many different ones as occur.
fn bits(secret: &Secret) -> f64 {
    let characters = secret.expose().chars();
    let different = characters.clone().collect::<BTreeSet<_>>().len();
    characters.count() as f64 * (different as f64).log2()
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU64;

    use super::*;
    use crate::token::{
        Mint, Terms,
        parse::tests::{golden, issued, issuer},
    };

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn nothing_is_wrong_with_what_is_minted() {
        for strict in [true, false] {
            let token = Token::mint(&Mint { strict, ..Mint::default() }).unwrap();
            let description = token.describe(NOW);
            assert_eq!(description.warnings, Vec::<String>::new());
            assert_eq!((description.format, description.strict, description.generation), ("p2p-fed", strict, 1));
            assert_eq!(description.network, token.short_id());
            assert_eq!((description.dht.interval_s, description.dht.length), (360, 43));
            assert_eq!(description.room, SecretDescription { value: "***", characters: 43 });
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let mut token = golden();
        token.room = token.rendezvous.clone();
        token.dht.interval = NonZeroU64::new(5).unwrap();
        token.crypto.length = 6;
        token.max_message_size = 1000;
        let description = token.describe(NOW);
        assert_eq!((description.format, description.strict), ("edgevpn", false));
        assert_eq!(
            description.warnings,
            [
                "`otp.dht.key` can be guessed: 0 bits at most, 128 are enough; mint a new token",
                "`otp.crypto.key` can be guessed: 0 bits at most, 128 are enough; mint a new token",
                "`room` can be guessed: 0 bits at most, 128 are enough; mint a new token",
                "`room` and `rendezvous` are the same; mint a new token",
                "`rendezvous` can be guessed: 0 bits at most, 128 are enough; mint a new token",
                "`otp.dht.interval` is short: nodes whose clocks differ by 5 s may miss each other",
                "`otp.crypto.length` is short: what edgevpn derives has 36 bits, 128 are enough",
                "`max_message_size` is small: gossip needs 65536 bytes",
            ]
        );
    }

    #[test]
    fn says_what_an_invitation_allows() {
        let own = issued().describe(NOW);
        assert_eq!((own.issuer.as_deref(), own.invitation), (Some(&*issued().issuer().unwrap().fingerprint()), None));
        assert_eq!(golden().describe(NOW).issuer, None);
        let roles = Roles { serve: true, relay: true, expose: false };
        let terms = Terms { roles, services: "llm-*".parse().unwrap(), expires_unix_s: NOW + 1, once: true };
        let token = issued().inviting(terms, &issuer()).unwrap();
        let invitation = token.describe(NOW).invitation.unwrap();
        assert_eq!((invitation.roles, invitation.services.as_str()), (vec!["serve", "relay"], "llm-*"));
        assert_eq!((invitation.expires.as_deref(), invitation.once), (Some("2027-01-15T08:00:01Z"), true));
        let said = |unix_s| token.describe(unix_s).warnings.iter().any(|line| line.contains("expired"));
        assert!(!said(NOW) && said(NOW + 1));
    }

    #[test]
    fn shows_no_secret_in_any_form() {
        let token = golden();
        let description = token.describe(NOW);
        for shown in [serde_json::to_string(&description).unwrap(), format!("{description:?}")] {
            for secret in ["DD", "CC", "RR", "ZZ", "MM"] {
                assert!(!shown.contains(secret), "{shown}");
            }
        }
    }
}
