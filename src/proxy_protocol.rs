//! The PROXY protocol, versions 1 and 2: who is at the other end of a connection that somebody carries on.
//!
//! A front reads it from a load balancer before it, a worker writes it to its backend. The header comes before anything
//! else, TLS included. Source: "The PROXY protocol", Willy Tarreau, HAProxy Technologies, 2020.
//!
//! **Absent on purpose.** No meaning of the extensions (TLV) of version 2: they are skipped. No datagrams.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    str::FromStr,
};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt};

/// What version 2 begins with.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";

/// Bytes of a header of version 1 at most, its line end included.
const V1_MAX: usize = 107;

/// Bytes behind the first sixteen of version 2 at most: addresses and extensions. Those of cloud providers take a few hundred.
const V2_MAX: usize = 4096;

/// Bytes read at a time: a header with what usually comes along.
const CHUNK: usize = 1024;

/// Which version is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Version {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// The text names no version.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a version of the PROXY protocol; choose v1 or v2")]
pub struct ParseVersionError(String);

impl FromStr for Version {
    type Err = ParseVersionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "v1" => Ok(Self::V1),
            "v2" => Ok(Self::V2),
            _ => Err(ParseVersionError(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        })
    }
}

/// What a header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// Where the client is and where it connected to; `None` if it is the proxy's own connection (a health check, say), or
    /// one of which it does not know.
    pub addresses: Option<(SocketAddr, SocketAddr)>,
}

/// The bytes are no header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a PROXY protocol header: {0}")]
pub struct Malformed(&'static str);

impl Header {
    /// Its bytes. Where one address is IPv4 and the other IPv6, both are written as IPv6.
    pub fn encode(&self, version: Version) -> Vec<u8> {
        let addresses = self.addresses.map(|(source, destination)| {
            let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
            let (from, to) =
                if from.is_ipv4() == to.is_ipv4() { (from, to) } else { (to_v6(from).into(), to_v6(to).into()) };
            (SocketAddr::new(from, source.port()), SocketAddr::new(to, destination.port()))
        });
        match version {
            Version::V1 => encode_v1(addresses),
            Version::V2 => encode_v2(addresses),
        }
    }

    /// The header at the beginning of `bytes` and its length; `None` if more bytes are needed.
    ///
    /// # Errors
    /// They can't become one.
    pub fn parse(bytes: &[u8]) -> Result<Option<(Self, usize)>, Malformed> {
        let begins = |with: &[u8]| bytes.iter().zip(with).all(|(byte, wanted)| byte == wanted);
        if begins(SIGNATURE) {
            parse_v2(bytes)
        } else if begins(b"PROXY ") {
            parse_v1(bytes)
        } else {
            Err(Malformed("it begins otherwise"))
        }
    }
}

/// Reads a header, and returns it with what was read beyond it.
///
/// # Errors
/// `InvalidData` for what is no header, `UnexpectedEof` for an end within it, and what the reader fails with.
pub async fn read(from: &mut (impl AsyncRead + Unpin)) -> io::Result<(Header, Bytes)> {
    let mut bytes = BytesMut::with_capacity(CHUNK);
    loop {
        if from.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let parsed = Header::parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        if let Some((header, length)) = parsed {
            let rest = bytes.split_off(length);
            return Ok((header, rest.freeze()));
        }
    }
}

fn to_v6(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn encode_v1(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let Some((source, destination)) = addresses else { return b"PROXY UNKNOWN\r\n".to_vec() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.ip(), destination.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", source.port(), destination.port()).into_bytes()
}

fn encode_v2(addresses: Option<(SocketAddr, SocketAddr)>) -> Vec<u8> {
    let mut bytes = SIGNATURE.to_vec();
    let Some((source, destination)) = addresses else {
        bytes.extend([0x20, 0x00, 0, 0]);
        return bytes;
    };
    match (source.ip(), destination.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            bytes.extend([0x21, 0x11, 0, 12]);
            bytes.extend(from.octets().into_iter().chain(to.octets()));
        }
        (from, to) => {
            bytes.extend([0x21, 0x21, 0, 36]);
            bytes.extend(to_v6(from).octets().into_iter().chain(to_v6(to).octets()));
        }
    }
    bytes.extend(source.port().to_be_bytes().into_iter().chain(destination.port().to_be_bytes()));
    bytes
}

fn parse_v1(bytes: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    let line = bytes.get(..V1_MAX).unwrap_or(bytes);
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if line.len() < V1_MAX { Ok(None) } else { Err(Malformed("its line does not end")) };
    };
    let text = std::str::from_utf8(line.get(..end).unwrap_or_default()).map_err(|_| Malformed("it is not text"))?;
    let header = match text.split(' ').collect::<Vec<_>>()[..] {
        ["PROXY", "UNKNOWN", ..] => Header::default(),
        ["PROXY", family @ ("TCP4" | "TCP6"), from, to, from_port, to_port] => {
            let is_v4 = family == "TCP4";
            let source = SocketAddr::new(address(from, is_v4)?, port(from_port)?);
            Header { addresses: Some((source, SocketAddr::new(address(to, is_v4)?, port(to_port)?))) }
        }
        _ => return Err(Malformed("its line has other words")),
    };
    Ok(Some((header, end + 2)))
}

fn address(text: &str, is_v4: bool) -> Result<IpAddr, Malformed> {
    let parsed = match is_v4 {
        true => text.parse::<Ipv4Addr>().map(IpAddr::V4),
        false => text.parse::<Ipv6Addr>().map(IpAddr::V6),
    };
    parsed.map_err(|_| Malformed("an address is not of its family"))
}

fn port(text: &str) -> Result<u16, Malformed> {
    let is_canonical = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_canonical).ok_or(Malformed("a port is not a number from 0 to 65535"))
}

fn parse_v2(bytes: &[u8]) -> Result<Option<(Header, usize)>, Malformed> {
    let Some((head, rest)) = bytes.split_first_chunk::<16>() else { return Ok(None) };
    let [.., command, family, high, low] = *head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > V2_MAX {
        return Err(Malformed("it is longer than 4 KiB"));
    }
    if !matches!(command, 0x20 | 0x21) {
        return Err(Malformed("its version or command is unknown"));
    }
    let Some(mut body) = rest.get(..length) else { return Ok(None) };
    let addresses = match (command, family) {
        (0x20, _) | (_, 0x00) => None,
        (_, 0x11) => {
            let (from, to) = (take::<4>(&mut body)?, take::<4>(&mut body)?);
            Some((Ipv4Addr::from(from).into(), Ipv4Addr::from(to).into()))
        }
        (_, 0x21) => {
            let (from, to) = (take::<16>(&mut body)?, take::<16>(&mut body)?);
            Some((Ipv6Addr::from(from).into(), Ipv6Addr::from(to).into()))
        }
        // Of a Unix socket: it has no address that means anything elsewhere.
        (_, 0x31) => None,
        _ => return Err(Malformed("its family is unknown")),
    };
    let addresses = match addresses {
        Some((from, to)) => {
            let (from_port, to_port) = (take(&mut body)?, take(&mut body)?);
            let source = SocketAddr::new(from, u16::from_be_bytes(from_port));
            Some((source, SocketAddr::new(to, u16::from_be_bytes(to_port))))
        }
        None => None,
    };
    Ok(Some((Header { addresses }, head.len() + length)))
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Result<[u8; N], Malformed> {
    let (taken, rest) = bytes.split_first_chunk().ok_or(Malformed("it ends within its addresses"))?;
    *bytes = rest;
    Ok(*taken)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(source: &str, destination: &str) -> Header {
        Header { addresses: Some((source.parse().unwrap(), destination.parse().unwrap())) }
    }

    #[test]
    fn each_form_is_written_as_the_specification_has_it() {
        let v4 = header("192.0.2.1:56324", "192.0.2.2:443");
        assert_eq!(v4.encode(Version::V1), b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n");
        let binary = [&SIGNATURE[..], &[0x21, 0x11, 0, 12, 192, 0, 2, 1, 192, 0, 2, 2, 0xdc, 0x04, 1, 187]].concat();
        assert_eq!(v4.encode(Version::V2), binary);
        assert_eq!(header("[::1]:1", "[::2]:2").encode(Version::V1), b"PROXY TCP6 ::1 ::2 1 2\r\n");
        assert_eq!(Header::default().encode(Version::V1), b"PROXY UNKNOWN\r\n");
        assert_eq!(Header::default().encode(Version::V2), [&SIGNATURE[..], &[0x20, 0, 0, 0]].concat());
        let longest = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535";
        assert!(header(longest, longest).encode(Version::V1).len() <= V1_MAX);
    }

    #[test]
    fn what_others_write_is_read() {
        let unknown = format!("PROXY UNKNOWN {}\r\nGET /", "f".repeat(80));
        assert_eq!(Header::parse(unknown.as_bytes()), Ok(Some((Header::default(), unknown.len() - 5))));
        // Extensions behind the addresses, a Unix socket, and a health check with addresses.
        let v2 = |head: [u8; 2], body: &[u8]| {
            let length = (body.len() as u16).to_be_bytes();
            [&SIGNATURE[..], &head, &length, body].concat()
        };
        let addresses = [10, 0, 0, 1, 10, 0, 0, 2, 0, 1, 0, 2];
        let extended = v2([0x21, 0x11], &[&addresses[..], &[0x04, 0, 3, 1, 2, 3]].concat());
        let expected = header("10.0.0.1:1", "10.0.0.2:2");
        assert_eq!(Header::parse(&extended), Ok(Some((expected, extended.len()))));
        for (head, body) in [([0x21, 0x31], vec![0; 216]), ([0x20, 0x11], addresses.to_vec()), ([0x21, 0x00], vec![])] {
            let bytes = v2(head, &body);
            assert_eq!(Header::parse(&bytes), Ok(Some((Header::default(), bytes.len()))), "{head:?}");
        }
    }

    #[test]
    fn what_is_no_header_is_refused_as_soon_as_it_shows() {
        let long = format!("PROXY TCP6 {}", "f".repeat(V1_MAX));
        for text in [
            "G",
            "PROXY",
            "PROXYX",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
            "PROXY TCP4 1.2.3.4  5.6.7.8 1 2\r\n",
            "PROXY TCP4 ::1 ::2 1 2\r\n",
            "PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 65536 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 +1 2\r\n",
            "PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
            "PROXY UDP4 1.2.3.4 5.6.7.8 1 2\r\n",
            "proxy TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
            &long,
        ] {
            let parsed = Header::parse(text.as_bytes());
            assert!(parsed.is_err() || (text == "PROXY" && parsed == Ok(None)), "{text}: {parsed:?}");
        }
        for tail in [&[0x11, 0x11, 0, 12][..], &[0x22, 0x11, 0, 12], &[0x21, 0x11, 0xff, 0xff], &[0x21, 0x12, 0, 0]] {
            assert!(Header::parse(&[SIGNATURE, tail].concat()).is_err(), "{tail:?}");
        }
        assert!(Header::parse(&[&SIGNATURE[..], &[0x21, 0x11, 0, 4, 1, 2, 3, 4]].concat()).is_err());
    }

    #[tokio::test]
    async fn a_header_in_pieces_is_put_together_and_the_rest_is_kept() {
        let wanted = header("192.0.2.1:1", "192.0.2.2:2");
        for version in [Version::V1, Version::V2] {
            let bytes = [&wanted.encode(version)[..], b"rest"].concat();
            for cut in 1..bytes.len() {
                let (first, second) = bytes.split_at(cut);
                let (read_header, mut rest) =
                    read(&mut first.chain(second)).await.map(|(h, r)| (h, r.to_vec())).unwrap();
                rest.extend_from_slice(&[]);
                assert_eq!(read_header, wanted);
                assert!(b"rest".starts_with(&rest), "{rest:?}");
            }
        }
        let error = read(&mut &b"PROXY TCP4"[..]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    fn any_address() -> impl Strategy<Value = SocketAddr> {
        prop_oneof![
            (any::<[u8; 4]>(), any::<u16>()).prop_map(|(ip, port)| (ip, port).into()),
            (any::<[u8; 16]>(), any::<u16>()).prop_map(|(ip, port)| (ip, port).into()),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(source in any_address(), destination in any_address(), more in any::<Vec<u8>>()) {
            let header = Header { addresses: Some((source, destination)) };
            for version in [Version::V1, Version::V2] {
                let mut bytes = header.encode(version);
                let length = bytes.len();
                for end in 0..length {
                    prop_assert_eq!(Header::parse(&bytes[..end]), Ok(None));
                }
                bytes.extend(&more);
                let (parsed, taken) = Header::parse(&bytes).unwrap().unwrap();
                prop_assert_eq!(taken, length);
                let (from, to) = parsed.addresses.unwrap();
                prop_assert_eq!((from.ip().to_canonical(), from.port()), (source.ip().to_canonical(), source.port()));
                prop_assert_eq!((to.ip().to_canonical(), to.port()), (destination.ip().to_canonical(), destination.port()));
            }
        }

        #[test]
        fn no_bytes_can_hurt(bytes in any::<Vec<u8>>(), is_v2: bool) {
            let begin: &[u8] = if is_v2 { SIGNATURE } else { b"PROXY TCP4 " };
            let _ = (Header::parse(&bytes), Header::parse(&[begin, &bytes].concat()));
        }
    }
}
