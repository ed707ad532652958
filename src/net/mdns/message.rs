//! The DNS messages: built for a link, and read from it.
//!
//! What a node says, in one packet (a receiver may want all of it together, so it is never split):
//!
//! ```text
//! <service>.local.           PTR        <label>.<service>.local.
//! <label>.<service>.local.   SRV        0 0 4001 <label>.local.
//! <label>.<service>.local.   TXT        "dnsaddr=<multiaddr>/p2p/<peer id>" …
//! <label>.local.             A, AAAA    the addresses of the interface
//! ```
//!
//! The service is compared byte for byte: two tokens may differ in nothing but the case of a letter. Of what others say
//! only the TXT record is used, whichever section it is in; the port of SRV and the address records mean nothing here,
//! since a multiaddress says it all.

use std::net::IpAddr;

use hickory_proto::{
    ProtoError,
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{PTR, SRV, TXT},
    },
};
use libp2p::{Multiaddr, PeerId, multiaddr::Protocol};
use rand::{Rng, RngExt};

use super::{Discovered, address};

/// Bytes in a packet at most (RFC 6762 §17).
pub(super) const MAX_PACKET: usize = 9000;

/// How long others may keep what we say, in seconds.
pub(super) const TTL: u32 = 3200;

/// Said in SRV because DNS-SD wants a port; nobody dials it.
const SRV_PORT: u16 = 4001;

/// What precedes an address in TXT.
const TXT_KEY: &str = "dnsaddr=";

/// Bytes in one character-string of TXT at most (RFC 1035 §3.3).
const MAX_STRING: usize = 255;

/// Addresses of an interface said in A and AAAA. One is all that a receiver wants to see.
const MAX_HOSTS: usize = 4;

/// Labels of an instance: random, so that no probing for conflicts is needed.
const LABEL_LENGTH: std::ops::RangeInclusive<usize> = 32..=63;

/// The names of one service and of our instance in it.
#[derive(Clone, Debug)]
pub(super) struct Names {
    service: Name,
    instance: Name,
    host: Name,
}

/// What a packet was.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Packet {
    /// A question that our records answer.
    Question(Question),
    /// Peers of our service and the addresses they claim, none empty.
    Answer(Vec<Discovered>),
    /// Somebody else's business.
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Question {
    /// All that concerns us is to be answered by unicast.
    pub(super) wants_unicast: bool,
    /// It asks the whole link for everybody, and knows nobody yet.
    pub(super) is_round: bool,
    /// Our record is among those the asker knows, and is young enough (RFC 6762 §7.1).
    pub(super) knows_us: bool,
}

/// A label of lower-case letters and digits that nobody else has.
pub(super) fn random_label(rng: &mut impl Rng) -> String {
    const ALPHABET: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
    let length = rng.random_range(LABEL_LENGTH);
    (0..length).map(|_| char::from(ALPHABET[rng.random_range(0..ALPHABET.len())])).collect()
}

impl Names {
    /// The names for `service`, which may have several labels joined by dots, and the instance `label`.
    ///
    /// # Errors
    /// When they do not fit: a label is empty or over 63 bytes, or a whole name over 255.
    pub(super) fn new(service: &str, label: &str) -> Result<Self, ProtoError> {
        let labels = || service.split('.').chain(["local"]).map(str::as_bytes);
        let label = || std::iter::once(label.as_bytes());
        Ok(Self {
            service: Name::from_labels(labels())?,
            instance: Name::from_labels(label().chain(labels()))?,
            host: Name::from_labels(label().chain([b"local".as_slice()]))?,
        })
    }

    /// The question for everybody in the service.
    pub(super) fn query(&self) -> Result<Vec<u8>, ProtoError> {
        let mut message = Message::new(0, MessageType::Query, OpCode::Query);
        message.add_query(Query::query(self.service.clone(), RecordType::PTR));
        message.to_vec()
    }

    /// All our records, with [`TTL`], or with 0 as a goodbye.
    pub(super) fn response(
        &self,
        peer: PeerId,
        addresses: &[Multiaddr],
        hosts: impl Iterator<Item = IpAddr>,
        ttl: u32,
    ) -> Result<Vec<u8>, ProtoError> {
        let strings = addresses.iter().map(|address| format!("{TXT_KEY}{address}/p2p/{peer}"));
        let text = strings.filter(|string| string.len() <= MAX_STRING).collect();
        let ours = |name: &Name, data| {
            let mut record = Record::from_rdata(name.clone(), ttl, data);
            record.mdns_cache_flush = true; // nobody else has this name
            record
        };
        let mut message = Message::response(0, OpCode::Query);
        message.metadata.authoritative = true;
        message.add_answer(Record::from_rdata(self.service.clone(), ttl, RData::PTR(PTR(self.instance.clone()))));
        message.add_additional(ours(&self.instance, RData::SRV(SRV::new(0, 0, SRV_PORT, self.host.clone()))));
        message.add_additional(ours(&self.instance, RData::TXT(TXT::new(text))));
        message.add_additionals(hosts.take(MAX_HOSTS).map(|ip| ours(&self.host, RData::from(ip))));
        message.to_vec()
    }

    /// Reads a packet; `from_here` says that it came from this machine.
    ///
    /// # Errors
    /// When it is no DNS message.
    pub(super) fn read(&self, packet: &[u8], from_here: bool) -> Result<Packet, ProtoError> {
        let message = Message::from_vec(packet)?;
        if message.op_code != OpCode::Query || message.response_code != ResponseCode::NoError {
            return Ok(Packet::Other);
        }
        Ok(match message.message_type {
            MessageType::Query => self.question(&message).map_or(Packet::Other, Packet::Question),
            MessageType::Response => match self.peers(&message, from_here) {
                peers if peers.is_empty() => Packet::Other,
                peers => Packet::Answer(peers),
            },
        })
    }

    fn question(&self, message: &Message) -> Option<Question> {
        let everybody = |query: &Query| query.name.eq_case(&self.service) && is_for(query, &[RecordType::PTR]);
        let us =
            |query: &Query| query.name.eq_case(&self.instance) && is_for(query, &[RecordType::SRV, RecordType::TXT]);
        let mut asked = message.queries.iter().filter(|query| everybody(query) || us(query)).peekable();
        asked.peek()?;
        let to_all = |query: &Query| everybody(query) && !query.mdns_unicast_response;
        Some(Question {
            wants_unicast: asked.all(|query| query.mdns_unicast_response),
            is_round: message.answers.is_empty() && message.queries.iter().any(to_all),
            knows_us: message.answers.iter().any(|record| {
                let is_ours = matches!(&record.data, RData::PTR(PTR(name)) if name.eq_case(&self.instance));
                is_ours && record.name.eq_case(&self.service) && record.ttl >= TTL / 2
            }),
        })
    }

    fn peers(&self, message: &Message, from_here: bool) -> Vec<Discovered> {
        let mut peers: Vec<Discovered> = Vec::new();
        let records = message.all_sections();
        let of_service = records.filter(|record| record.ttl > 0 && record.name.base_name().eq_case(&self.service));
        let strings = of_service.filter_map(|record| match &record.data {
            RData::TXT(text) => Some(text.txt_data.iter()),
            _ => None,
        });
        for (peer, address) in strings.flatten().filter_map(|string| claim(string)) {
            if !address::is_believed(&address, from_here) {
                continue;
            }
            match peers.iter_mut().find(|known| known.peer == peer) {
                None => peers.push(Discovered { peer, addresses: vec![address] }),
                Some(known) if known.addresses.len() >= address::MAX_ADDRESSES => {}
                Some(known) if known.addresses.contains(&address) => {}
                Some(known) => known.addresses.push(address),
            }
        }
        peers
    }
}

fn is_for(query: &Query, types: &[RecordType]) -> bool {
    matches!(query.query_class, DNSClass::IN | DNSClass::ANY)
        && (query.query_type == RecordType::ANY || types.contains(&query.query_type))
}

/// A character-string of TXT as a peer and an address without the peer.
fn claim(string: &[u8]) -> Option<(PeerId, Multiaddr)> {
    let text = std::str::from_utf8(string).ok()?.strip_prefix(TXT_KEY)?;
    let mut address: Multiaddr = text.parse().ok()?;
    match address.pop()? {
        Protocol::P2p(peer) => Some((peer, address)),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
