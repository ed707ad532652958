//! The laws of what an issuer signs: one value has one encoding, and no other bytes pass for it.

// What clippy allows in tests it does not allow in their helpers.
#![allow(clippy::expect_used, clippy::panic)]

use std::time::Duration;

use ed25519_dalek::SigningKey;
use p2p_fed_ledger::{
    CREDENTIAL_MAX, Credential, DECREE_MAX, Decree, Invitation, IssuerKey, NetworkId, NodeId, Roles, Rotation, Sealed,
    Serial, SignedDecree, SignedInvitation, UnverifiedDecree,
};
use proptest::{collection::vec, prelude::*, sample::Index};

/// Bytes of an Ed25519 signature.
const SIGNATURE: usize = 64;

fn key(n: u8) -> SigningKey {
    SigningKey::from_bytes(&[n; 32])
}

fn node(n: u8) -> NodeId {
    key(n).verifying_key().into()
}

fn issuer() -> IssuerKey {
    key(9).verifying_key().into()
}

fn network() -> impl Strategy<Value = NetworkId> {
    any::<[u8; 16]>().prop_map(NetworkId)
}

fn invitation() -> impl Strategy<Value = Invitation> {
    let roles = any::<[bool; 3]>().prop_map(|[serve, expose, relay]| Roles { serve, expose, relay });
    (network(), any::<[u8; 16]>(), roles, "[a-z0-9.*?-]{1,63}", any::<u64>(), any::<bool>()).prop_map(
        |(network, serial, roles, services, expires_unix_s, once)| Invitation {
            network,
            serial: Serial(serial),
            holder: key(8).verifying_key().to_bytes(),
            roles,
            services: services.parse().expect("a pattern"),
            expires_unix_s,
            once,
        },
    )
}

fn rotation() -> impl Strategy<Value = Rotation> {
    (any::<u32>(), any::<u32>(), any::<[u8; 32]>(), vec((any::<u8>(), any::<[u8; 16]>()), 0..8)).prop_map(
        |(generation, grace, ephemeral, members)| {
            let mut sealed = Sealed::default();
            for (member, third) in members {
                let secret = [third, third, third].concat().try_into().expect("48 bytes");
                sealed.insert(&node(member), secret);
            }
            Rotation { generation, grace: Duration::from_secs(grace.into()), ephemeral, sealed }
        },
    )
}

fn decree() -> impl Strategy<Value = Decree> {
    let banned = prop::collection::btree_set(any::<[u8; 32]>().prop_map(NodeId::from_bytes), 0..8);
    let revoked = prop::collection::btree_set(any::<[u8; 16]>().prop_map(Serial), 0..8);
    (network(), any::<u64>(), any::<u64>(), banned, revoked, prop::option::of(rotation())).prop_map(
        |(network, number, issued_ms, banned, revoked, rotation)| Decree {
            network,
            number,
            issued_ms,
            banned,
            revoked,
            rotation,
        },
    )
}

/// One change to some bytes.
fn mutated(mut bytes: Vec<u8>, how: u8, place: Index, value: u8) -> Vec<u8> {
    let at = place.index(bytes.len());
    match how % 5 {
        0 => bytes[at] ^= value | 1,
        1 => bytes.truncate(at),
        2 => bytes.insert(at, value),
        3 => drop(bytes.remove(at)),
        _ => bytes.extend(std::iter::repeat_n(value, at)),
    }
    bytes
}

/// Whether there are fields that a reader may skip: the one thing that a value does not show.
fn has_skippable(mut fields: &[u8]) -> bool {
    const ROTATION: u8 = 0x07;
    while let [tag, high, low, rest @ ..] = fields {
        let (value, tail) = rest.split_at(usize::from(u16::from_be_bytes([*high, *low])));
        if *tag >= 0x80 || (*tag == ROTATION && has_skippable(value)) {
            return true;
        }
        fields = tail;
    }
    false
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_credential_comes_back_as_it_was_made(invitation in invitation(), to: u8) {
        let signed = SignedInvitation::sign(invitation.clone(), &key(9));
        let read = SignedInvitation::decode(signed.bytes()).expect("it is valid");
        prop_assert_eq!(&read, &signed);
        prop_assert_eq!(read.verify(&issuer()), Ok(()));
        let credential = Credential::bind(read, &key(8), node(to));
        let bytes = credential.bytes();
        prop_assert!(bytes.len() <= CREDENTIAL_MAX);
        let read = Credential::decode(&bytes).expect("it is valid");
        prop_assert_eq!(&read, &credential);
        prop_assert_eq!(read.invitation(), &invitation);
        let grant = read.verify(&issuer(), invitation.network, &node(to)).expect("it is signed");
        prop_assert_eq!((grant.serial, grant.roles, grant.once), (invitation.serial, invitation.roles, invitation.once));
        prop_assert_eq!(&SignedInvitation::sign(invitation, &key(9)), &signed);
    }

    #[test]
    fn other_bytes_are_another_invitation_or_none(
        invitation in invitation(),
        (how, place, value) in (any::<u8>(), any::<Index>(), any::<u8>()),
    ) {
        let (network, signed) = (invitation.network, SignedInvitation::sign(invitation, &key(9)));
        let credential = Credential::bind(signed, &key(8), node(1)).bytes();
        let bytes = mutated(credential.clone(), how, place, value);
        if let Ok(read) = Credential::decode(&bytes) {
            let body = &bytes[..bytes.len() - 2 * SIGNATURE];
            let again = SignedInvitation::sign(read.invitation().clone(), &key(9));
            let same = again.bytes()[..again.bytes().len() - SIGNATURE] == *body;
            prop_assert!(same || has_skippable(body), "two encodings of one invitation");
            prop_assert!(bytes == credential || read.verify(&issuer(), network, &node(1)).is_err());
        }
    }

    #[test]
    fn a_decree_comes_back_as_it_was_made(decree in decree()) {
        let signed = SignedDecree::sign(decree.clone(), &key(9)).expect("it is small");
        prop_assert!(signed.bytes().len() <= DECREE_MAX);
        let read = UnverifiedDecree::decode(signed.bytes()).expect("it is valid").verify(&issuer()).expect("it is signed");
        prop_assert_eq!(&**read.decree(), &decree);
        prop_assert_eq!(&read, &signed);
        prop_assert_eq!(&SignedDecree::sign(decree, &key(9)).expect("it was small"), &signed);
    }

    #[test]
    fn other_bytes_are_another_decree_or_none(
        decree in decree(),
        (how, place, value) in (any::<u8>(), any::<Index>(), any::<u8>()),
    ) {
        let signed = SignedDecree::sign(decree, &key(9)).expect("it is small");
        let bytes = mutated(signed.bytes().to_vec(), how, place, value);
        if let Ok(read) = UnverifiedDecree::decode(&bytes) {
            let body = &bytes[..bytes.len() - SIGNATURE];
            let again = SignedDecree::sign(read.decree().clone(), &key(9)).expect("what is read fits");
            let same = again.bytes()[..again.bytes().len() - SIGNATURE] == *body;
            prop_assert!(same || has_skippable(body), "two encodings of one decree");
            prop_assert!(bytes == signed.bytes() || read.verify(&issuer()).is_err());
        }
    }

    #[test]
    fn arbitrary_bytes_do_no_harm(bytes in vec(any::<u8>(), 0..600)) {
        prop_assert!(Credential::decode(&bytes).is_err());
        prop_assert!(UnverifiedDecree::decode(&bytes).is_err());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The credential of `golden_credential`: fields, the issuer's signature, the holder's. Computed apart from this code.
const CREDENTIAL: &str = concat!(
    "010001010200107369787465656e20627974657320696403001073657269616c206f66203136206279740400201398f62c6d",
    "1a457c51ba6a4b5f3dbd2f69fca93216218dc8997e416bd17d93ca050001030600056c6c6d2d2a070008000000006b49d200",
    "08000101813b50c54ad36c38607991e312b4755fe3f35a71601994a0f863a56aa0f151b260c558ba3cb3ff725fd0b715a536",
    "7d6955b681a0d1b982036988b9600a0e0a09d0b08573a75b16111e6f200e488b6a9a3ce24562b3c07a96dad2e8ba17d6d288",
    "ef9165e8554da337d81f55b37868d111c7a6a09f5f3564175abbfe642f461303",
);

/// A credential with everything in it, byte for byte: who changes the format changes this, and the version.
#[test]
fn golden_credential() {
    let invitation = Invitation {
        network: NetworkId(*b"sixteen bytes id"),
        serial: Serial(*b"serial of 16 byt"),
        holder: key(8).verifying_key().to_bytes(),
        roles: Roles { serve: true, expose: true, relay: false },
        services: "llm-*".parse().expect("a pattern"),
        expires_unix_s: 1_800_000_000,
        once: true,
    };
    let credential = Credential::bind(SignedInvitation::sign(invitation.clone(), &key(9)), &key(8), node(42));
    assert_eq!(hex(&credential.bytes()), CREDENTIAL);
    let read = Credential::decode(&credential.bytes()).expect("it is valid");
    assert_eq!(read.invitation(), &invitation);
    assert!(read.verify(&issuer(), invitation.network, &node(42)).is_ok());
}

/// The decree of `golden_decree`: fields, then the signature. Computed apart from this code.
const DECREE: &str = concat!(
    "010001010200107369787465656e2062797465732069640300080000000000000007040008000001a3185c50000500409475",
    "c6cf0eda34057528d8694781ecc92ad639d7e2bd27761ed3ef74924beb07a87b8a99bd88a69686c994a80b629d8154871aa2",
    "95540834c01d79f4f916502f06001073657269616c206f66203136206279740700a401000400000002020004000151800300",
    "205555555555555555555555555555555555555555555555555555555555555555040070197f6b23e16c8532777777777777",
    "7777777777777777777777777777777777777777777777777777777777777777777777777777777777774508a07aa941707f",
    "666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666666edb8",
    "9d21abede4884dab0a75e1148e3f913482cf47754a3f01af5d0b42227321eb7b6a9df1f68c23279b6fc93969b0f8ac4cdf89",
    "2c28fee3a7a2c92c018c8104",
);

/// A decree with everything in it, byte for byte: who changes the format changes this, and the version.
#[test]
fn golden_decree() {
    let mut sealed = Sealed::default();
    sealed.insert(&node(42), [0x77; 48]);
    sealed.insert(&node(43), [0x66; 48]);
    let decree = Decree {
        network: NetworkId(*b"sixteen bytes id"),
        number: 7,
        issued_ms: 1_800_000_000_000,
        banned: [node(44), node(45)].into(),
        revoked: [Serial(*b"serial of 16 byt")].into(),
        rotation: Some(Rotation { generation: 2, grace: Duration::from_secs(86_400), ephemeral: [0x55; 32], sealed }),
    };
    let signed = SignedDecree::sign(decree.clone(), &key(9)).expect("it is small");
    assert_eq!(hex(signed.bytes()), DECREE);
    assert_eq!(hex(&signed.id().0), "d6973ad22472c5f25413eb48d37df76a427b1e21dc06144106643b9c79461127");
    let read = UnverifiedDecree::decode(signed.bytes()).expect("it is valid").verify(&issuer()).expect("it is signed");
    assert_eq!(**read.decree(), decree);
}
