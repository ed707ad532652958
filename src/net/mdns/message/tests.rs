use proptest::prelude::*;
use rand::{SeedableRng, rngs::StdRng};

use super::*;
use crate::edgevpn::vectors::{self, Mdns};

const PEER: &str = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";

/// A query of the service `aBc.local.`, byte by byte.
const QUERY: &[u8] = b"\0\0\0\0\0\x01\0\0\0\0\0\0\x03aBc\x05local\0\0\x0c\0\x01";

fn names() -> Names {
    Names::new("aBc", "inst0").unwrap()
}

fn peer() -> PeerId {
    PEER.parse().unwrap()
}

fn discovered(addresses: &[&str]) -> Packet {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    Packet::Answer(vec![Discovered { peer: peer(), addresses }])
}

fn response(ttl: u32) -> Vec<u8> {
    let addresses = ["/ip4/127.0.0.1/tcp/4001".parse().unwrap()];
    names().response(peer(), &addresses, ["127.0.0.1".parse().unwrap()].into_iter(), ttl).unwrap()
}

/// A packet as another implementation writes it: everything in the answer section, no compression.
fn foreign(service: &str, strings: &[String], ttl: u32) -> Vec<u8> {
    fn name(packet: &mut Vec<u8>, dotted: &str) {
        for label in dotted.split('.') {
            packet.push(u8::try_from(label.len()).unwrap());
            packet.extend(label.as_bytes());
        }
        packet.push(0);
    }
    fn record(packet: &mut Vec<u8>, owner: &str, kind: u16, ttl: u32, data: &[u8]) {
        name(packet, owner);
        packet.extend(kind.to_be_bytes());
        packet.extend(0x8001_u16.to_be_bytes());
        packet.extend(ttl.to_be_bytes());
        packet.extend(u16::try_from(data.len()).unwrap().to_be_bytes());
        packet.extend(data);
    }
    let (instance, host) = (format!("peer1.{service}.local"), "peer1.local");
    let mut packet = b"\0\0\x84\0\0\0\0\x04\0\0\0\0".to_vec();
    let mut srv = b"\0\0\0\0\x0f\xa1".to_vec();
    name(&mut srv, host);
    let mut text = Vec::new();
    for string in strings {
        text.push(u8::try_from(string.len()).unwrap());
        text.extend(string.as_bytes());
    }
    let mut pointer = Vec::new();
    name(&mut pointer, &instance);
    record(&mut packet, &instance, 33, ttl, &srv);
    record(&mut packet, &instance, 16, ttl, &text);
    record(&mut packet, &format!("{service}.local"), 12, ttl, &pointer);
    record(&mut packet, host, 1, ttl, &[192, 0, 2, 1]);
    packet
}

fn said(address: &str) -> String {
    format!("dnsaddr={address}/p2p/{PEER}")
}

#[test]
fn the_query_is_these_bytes() {
    assert_eq!(names().query().unwrap(), QUERY);
}

#[test]
fn the_response_is_these_bytes() {
    let text = said("/ip4/127.0.0.1/tcp/4001");
    assert_eq!(text.len(), 0x58);
    let expected: [&[u8]; 6] = [
        b"\0\0\x84\0\0\0\0\x01\0\0\0\x03",
        // aBc.local. PTR inst0.aBc.local. From here on this name is a reference to byte 12, and the one at 33.
        b"\x03aBc\x05local\0\0\x0c\0\x01\0\0\x0c\x80\0\x08\x05inst0\xc0\x0c",
        // SRV 0 0 4001 inst0.local., with the cache-flush bit, as all that follow.
        b"\xc0\x21\0\x21\x80\x01\0\0\x0c\x80\0\x13\0\0\0\0\x0f\xa1\x05inst0\x05local\0",
        b"\xc0\x21\0\x10\x80\x01\0\0\x0c\x80\0\x59\x58",
        text.as_bytes(),
        // inst0.local. (first said at 59) A 127.0.0.1
        b"\xc0\x3b\0\x01\x80\x01\0\0\x0c\x80\0\x04\x7f\0\0\x01",
    ];
    assert_eq!(response(TTL).escape_ascii().to_string(), expected.concat().escape_ascii().to_string());
}

#[test]
fn what_is_said_is_read_back() {
    assert_eq!(names().read(&response(TTL), true).unwrap(), discovered(&["/ip4/127.0.0.1/tcp/4001"]));
    assert_eq!(names().read(&response(TTL), false).unwrap(), Packet::Other, "loopback from elsewhere");
    assert_eq!(names().read(&response(0), true).unwrap(), Packet::Other, "a goodbye");
}

#[test]
fn what_another_implementation_says_is_read() {
    let strings = [
        said("/ip4/192.0.2.1/tcp/7000"),
        said("/ip6/2001:db8::1/udp/7000/quic-v1"),
        said("/ip4/192.0.2.1/tcp/7000"),
        said("/ip4/192.0.2.1/udp/7000/quic-v1/webtransport"),
        "dnsaddr=/ip4/192.0.2.1/tcp/7000".to_owned(),
        "dnsaddr=nonsense".to_owned(),
        "other=1".to_owned(),
    ];
    let expected = discovered(&["/ip4/192.0.2.1/tcp/7000", "/ip6/2001:db8::1/udp/7000/quic-v1"]);
    assert_eq!(names().read(&foreign("aBc", &strings, 3200), false).unwrap(), expected);
    for other in ["abc", "aBcd", "x.aBc"] {
        assert_eq!(names().read(&foreign(other, &strings, 3200), false).unwrap(), Packet::Other, "{other}");
    }
    assert_eq!(names().read(&foreign("aBc", &strings, 0), false).unwrap(), Packet::Other);
    assert_eq!(names().read(&foreign("aBc", &strings[4..], 3200), false).unwrap(), Packet::Other);
}

#[test]
fn a_peer_has_sixteen_addresses_at_most() {
    let strings: Vec<String> = (1..=40).map(|port| said(&format!("/ip4/192.0.2.1/tcp/{port}"))).collect();
    let Packet::Answer(peers) = names().read(&foreign("aBc", &strings, 3200), false).unwrap() else { panic!() };
    assert_eq!(peers[0].addresses.len(), address::MAX_ADDRESSES);
}

#[test]
fn a_string_that_is_too_long_is_not_said() {
    let long: Multiaddr = format!("/dns4/{}/tcp/1", "a".repeat(240)).parse().unwrap();
    let short: Multiaddr = "/ip4/192.0.2.1/tcp/1".parse().unwrap();
    let packet = names().response(peer(), &[long, short], std::iter::empty(), TTL).unwrap();
    assert_eq!(names().read(&packet, false).unwrap(), discovered(&["/ip4/192.0.2.1/tcp/1"]));
}

#[test]
fn the_largest_response_fits_a_packet() {
    let service = "S".repeat(63);
    let names = Names::new(&service, &"i".repeat(63)).unwrap();
    let addresses: Vec<Multiaddr> = (0..address::MAX_ADDRESSES)
        .map(|port| {
            format!("/ip6/2001:db8:1111:2222:3333:4444:5555:6666/udp/{}/quic-v1", 65000 + port).parse().unwrap()
        })
        .collect();
    let hosts = (0..100).map(|n| IpAddr::from([0x2001, 0xdb8, 1, 2, 3, 4, 5, n]));
    assert!(names.response(peer(), &addresses, hosts, TTL).unwrap().len() < MAX_PACKET / 2);
}

#[test]
fn questions() {
    let ask = |name: &str, kind: RecordType, unicast: bool| {
        let mut query = Query::query(Name::from_ascii(name).unwrap(), kind);
        query.mdns_unicast_response = unicast;
        query
    };
    let read = |queries: &[Query], known: Option<u32>| {
        let mut message = Message::new(7, MessageType::Query, OpCode::Query);
        message.add_queries(queries.to_vec());
        if let Some(ttl) = known {
            let names = names();
            message.add_answer(Record::from_rdata(names.service.clone(), ttl, RData::PTR(PTR(names.instance.clone()))));
        }
        names().read(&message.to_vec().unwrap(), false).unwrap()
    };
    let question = |wants_unicast, is_round, knows_us| Packet::Question(Question { wants_unicast, is_round, knows_us });

    assert_eq!(names().read(QUERY, false).unwrap(), question(false, true, false));
    let everybody = ask("aBc.local.", RecordType::PTR, false);
    let everybody_to_me = ask("aBc.local.", RecordType::ANY, true);
    let us = ask("inst0.aBc.local.", RecordType::SRV, false);
    assert_eq!(read(std::slice::from_ref(&everybody_to_me), None), question(true, false, false));
    assert_eq!(read(&[everybody_to_me, everybody.clone()], None), question(false, true, false));
    assert_eq!(read(&[us], None), question(false, false, false));
    assert_eq!(read(std::slice::from_ref(&everybody), Some(TTL)), question(false, false, true));
    assert_eq!(read(&[everybody], Some(TTL / 2 - 1)), question(false, false, false), "known, but about to end");
    let others = [
        ask("abc.local.", RecordType::PTR, false),
        ask("aBc.local.", RecordType::A, false),
        ask("_services._dns-sd._udp.local.", RecordType::PTR, false),
        ask("inst1.aBc.local.", RecordType::SRV, false),
    ];
    assert_eq!(read(&others, None), Packet::Other);
}

#[test]
fn names_that_do_not_fit_are_refused() {
    for bad in ["", "a..b", &"x".repeat(64), &["x".repeat(63).as_str(); 3].join(".")] {
        assert!(Names::new(bad, &"i".repeat(63)).is_err(), "{bad}");
    }
    assert!(Names::new("_p2p._udp", &"i".repeat(63)).is_ok());
}

#[test]
fn labels_are_random_and_long_enough() {
    let mut rng = StdRng::seed_from_u64(1);
    let labels: Vec<String> = (0..200).map(|_| random_label(&mut rng)).collect();
    for label in &labels {
        assert!(LABEL_LENGTH.contains(&label.len()));
        assert!(label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()));
    }
    assert!(labels.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn what_a_running_edgevpn_says_is_read() {
    for Mdns { name, peer, listens, packets } in vectors::both().map(|vectors| vectors.mdns) {
        let names = Names::new(&name, "inst0").unwrap();
        let peer: PeerId = peer.parse().unwrap();
        let addresses = listens.iter().map(|address| {
            let mut address: Multiaddr = address.parse().unwrap();
            assert_eq!(address.pop(), Some(Protocol::P2p(peer)));
            address
        });
        let answer = Packet::Answer(vec![Discovered { peer, addresses: addresses.collect() }]);
        let round = Packet::Question(Question { wants_unicast: false, is_round: true, knows_us: false });
        let mut told: Vec<Packet> =
            packets.iter().map(|packet| names.read(&vectors::unhex(packet), false).unwrap()).collect();
        for expected in [&round, &answer] {
            assert!(told.contains(expected), "{told:?}");
        }
        // What is left is a probe: it asks whether somebody else has its name.
        told.retain(|packet| ![&round, &answer].contains(&packet));
        assert!(!told.is_empty() && told.iter().all(|packet| *packet == Packet::Other), "{told:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_a_panic(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        names().read(&packet, false).ok();
    }

    #[test]
    fn a_damaged_packet_is_read_without_a_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        is_query: bool,
    ) {
        let mut packet = if is_query { QUERY.to_vec() } else { response(TTL) };
        for (at, byte) in damage {
            let at = at.index(packet.len());
            packet[at] = byte;
        }
        names().read(&packet, true).ok();
        names().read(&packet[..cut.index(packet.len())], true).ok();
    }

    #[test]
    fn any_text_is_read_without_a_panic(texts in prop::collection::vec("[ -~]{0,40}", 0..6)) {
        let strings: Vec<String> = texts.iter().map(|text| format!("dnsaddr=/{text}")).collect();
        names().read(&foreign("aBc", &strings, 3200), true).ok();
    }
}
