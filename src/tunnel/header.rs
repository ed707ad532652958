//! First message on a tunnel: what the front wants.
//!
//! In the outer form of every message (a version byte, a big-endian `u16` length, the body):
//!
//! | header, version 1 | bytes | |
//! |---|---|---|
//! | version | 1 | 1 |
//! | length of the body | 2 | at most [`MAX_HEADER`] |
//! | class | 1 | 0 tcp, 1 http, 2 load, 3 udp, 4 h2 |
//! | trace | 16 | random |
//! | client | 1, 7 or 19 | 0, or 4 and IPv4 address and port, or 6 and IPv6 address and port |
//! | service | 1 + n | its length and its name, see [`is_service_name`] |

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    MessageError,
    message::{Fields, read_message, write_message},
};

/// Bytes in the body of a header at most. Version 1 needs 101; the rest is room for later fields.
pub const MAX_HEADER: usize = 1024;

/// Whether `name` can name a service: 1 to 63 of `[a-z0-9-.]`, the same rule as in a record.
pub fn is_service_name(name: &str) -> bool {
    (1..=63).contains(&name.len()) && name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'))
}

/// What the front says first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The service wanted; never an address: a worker connects to backends of its own configuration alone.
    pub service: String,
    /// What kind of traffic follows.
    pub class: Class,
    /// Joins log lines of front and worker.
    pub trace: TraceId,
    /// Who is at the other end of the front's listener, where that is known and single. An IPv6 scope or flow label is
    /// not carried: it means nothing on another machine.
    pub client: Option<SocketAddr>,
}

/// What kind of traffic a tunnel carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// One client connection, opaque.
    Tcp,
    /// HTTP/1.1 requests, one after another, possibly of several clients.
    Http,
    /// No client at all: the worker pushes its reports ([`Load`](super::Load)) of the service, one after another, and is
    /// sent nothing. It takes no slot and reaches no backend.
    Load,
    /// The datagrams of one client, each preceded by its length as a big-endian `u16`.
    Udp,
    /// HTTP/2 without TLS: requests side by side, possibly of several clients.
    Http2,
}

/// Sixteen random bytes that name one tunnel in the logs of both ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceId(pub [u8; 16]);

impl TraceId {
    /// A fresh name, from the thread's generator.
    pub fn random() -> Self {
        Self(rand::random())
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes `header` and flushes.
///
/// # Errors
/// `Malformed` before a byte is written when the service's name is not valid; `Io` when the carrier fails.
pub async fn write_header<W: AsyncWrite + Unpin>(to: &mut W, header: &Header) -> Result<(), MessageError> {
    write_message(to, &header.encode()?, &[]).await
}

/// The same, with the first frame of the client's bytes in one piece behind it.
pub(super) async fn write_header_and<W: AsyncWrite + Unpin>(
    to: &mut W,
    header: &Header,
    frame: &[u8],
) -> Result<(), MessageError> {
    write_message(to, &header.encode()?, frame).await
}

/// Reads one header, and not a byte beyond it.
///
/// # Errors
/// `Version` and `Malformed` leave the carrier usable for a refusal.
pub async fn read_header<R: AsyncRead + Unpin>(from: &mut R) -> Result<Header, MessageError> {
    Header::decode(&read_message::<MAX_HEADER, _>(from).await?)
}

impl Header {
    fn encode(&self) -> Result<Vec<u8>, MessageError> {
        if !is_service_name(&self.service) {
            return Err(MessageError::Malformed("not the name of a service"));
        }
        let mut body = vec![match self.class {
            Class::Tcp => 0,
            Class::Http => 1,
            Class::Load => 2,
            Class::Udp => 3,
            Class::Http2 => 4,
        }];
        body.extend_from_slice(&self.trace.0);
        match self.client.map(|client| (client.ip(), client.port())) {
            None => body.push(0),
            Some((IpAddr::V4(ip), port)) => {
                body.push(4);
                body.extend_from_slice(&ip.octets());
                body.extend_from_slice(&port.to_be_bytes());
            }
            Some((IpAddr::V6(ip), port)) => {
                body.push(6);
                body.extend_from_slice(&ip.octets());
                body.extend_from_slice(&port.to_be_bytes());
            }
        }
        body.push(self.service.len() as u8); // at most 63: see is_service_name
        body.extend_from_slice(self.service.as_bytes());
        Ok(body)
    }

    fn decode(body: &[u8]) -> Result<Self, MessageError> {
        let mut fields = Fields(body);
        let class = match fields.byte()? {
            0 => Class::Tcp,
            1 => Class::Http,
            2 => Class::Load,
            3 => Class::Udp,
            4 => Class::Http2,
            _ => return Err(MessageError::Malformed("unknown class")),
        };
        let trace = TraceId(fields.array()?);
        let client = match fields.byte()? {
            0 => None,
            4 => Some((IpAddr::from(Ipv4Addr::from(fields.array::<4>()?)), fields.port()?)),
            6 => Some((IpAddr::from(Ipv6Addr::from(fields.array::<16>()?)), fields.port()?)),
            _ => return Err(MessageError::Malformed("unknown kind of client address")),
        };
        let length = fields.byte()?;
        let service = std::str::from_utf8(fields.take(length.into())?).unwrap_or_default();
        if !is_service_name(service) {
            return Err(MessageError::Malformed("not the name of a service"));
        }
        Ok(Self { service: service.to_owned(), class, trace, client: client.map(SocketAddr::from) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tunnel::VERSION;

    fn block_on<F: Future>(future: F) -> F::Output {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
    }

    fn header() -> Header {
        Header {
            service: "llm".into(),
            class: Class::Http,
            trace: TraceId([7; 16]),
            client: Some("192.0.2.1:258".parse().unwrap()),
        }
    }

    fn written(header: &Header) -> Vec<u8> {
        let mut bytes = Vec::new();
        block_on(write_header(&mut bytes, header)).unwrap();
        bytes
    }

    fn any_header() -> impl Strategy<Value = Header> {
        let client = proptest::option::of((any::<IpAddr>(), any::<u16>()).prop_map(SocketAddr::from));
        let class =
            prop_oneof![Just(Class::Tcp), Just(Class::Http), Just(Class::Load), Just(Class::Udp), Just(Class::Http2)];
        ("[a-z0-9.-]{1,63}", class, any::<[u8; 16]>(), client).prop_map(|(service, class, trace, client)| Header {
            service,
            class,
            trace: TraceId(trace),
            client,
        })
    }

    proptest! {
        #[test]
        fn a_header_comes_back_and_the_bytes_behind_it_stay(header in any_header(), behind in any::<Vec<u8>>()) {
            let mut bytes = written(&header);
            bytes.extend_from_slice(&behind);
            let mut from = bytes.as_slice();
            prop_assert_eq!(block_on(read_header(&mut from)).unwrap(), header);
            prop_assert_eq!(from, behind.as_slice());
        }

        #[test]
        fn arbitrary_bytes_are_read_or_refused(bytes in any::<Vec<u8>>()) {
            let _ = block_on(read_header(&mut bytes.as_slice()));
        }

        #[test]
        fn an_arbitrary_body_is_a_valid_header_or_refused(body in any::<Vec<u8>>()) {
            if let Ok(header) = Header::decode(&body) {
                prop_assert_eq!(Header::decode(&header.encode().unwrap()).unwrap(), header);
            }
        }

        #[test]
        fn a_shortened_header_is_refused(header in any_header(), cut in any::<prop::sample::Index>()) {
            let body = header.encode().unwrap();
            let cut = cut.index(body.len());
            prop_assert!(matches!(Header::decode(&body[..cut]), Err(MessageError::Malformed(_))));
        }
    }

    #[test]
    fn the_bytes_are_as_documented() {
        let mut expected = vec![1, 0, 28, 1];
        expected.extend_from_slice(&[7; 16]);
        expected.extend_from_slice(&[4, 192, 0, 2, 1, 1, 2, 3, b'l', b'l', b'm']);
        assert_eq!(written(&header()), expected);
    }

    #[test]
    fn a_later_field_is_skipped() {
        let mut bytes = written(&header());
        bytes.push(42);
        bytes[2] += 1;
        assert_eq!(block_on(read_header(&mut bytes.as_slice())).unwrap(), header());
    }

    #[test]
    fn a_later_version_is_told_apart_and_read_past() {
        let mut bytes = written(&header());
        bytes[0] = 2;
        bytes.push(9);
        let mut from = bytes.as_slice();
        assert!(matches!(block_on(read_header(&mut from)), Err(MessageError::Version(2))));
        assert_eq!(from, [9]);
    }

    #[test]
    fn an_over_long_body_is_refused_unread() {
        let mut bytes = vec![VERSION];
        bytes.extend_from_slice(&(MAX_HEADER as u16 + 1).to_be_bytes());
        assert!(matches!(block_on(read_header(&mut bytes.as_slice())), Err(MessageError::Malformed(_))));
    }

    #[test]
    fn an_invalid_service_is_neither_written_nor_read() {
        for name in ["", "UPPER", "a b", "a/b", "127.0.0.1:80", "ünï", &"x".repeat(64)] {
            assert!(!is_service_name(name), "{name}");
            let bad = Header { service: name.into(), ..header() };
            let mut bytes = Vec::new();
            assert!(matches!(block_on(write_header(&mut bytes, &bad)), Err(MessageError::Malformed(_))));
            assert!(bytes.is_empty());
        }
        let mut bytes = written(&header());
        *bytes.last_mut().unwrap() = b':';
        assert!(matches!(block_on(read_header(&mut bytes.as_slice())), Err(MessageError::Malformed(_))));
    }

    #[test]
    fn a_trace_is_random_and_prints_as_hex() {
        assert_ne!(TraceId::random(), TraceId::random());
        assert_eq!(TraceId([0xab; 16]).to_string(), "ab".repeat(16));
    }
}
