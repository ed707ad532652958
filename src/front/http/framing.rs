//! Where requests begin and end on a client's connection, seen from beside hyper.
//!
//! hyper reads a request that carries both `Transfer-Encoding` and `Content-Length` as RFC 9112 §6.3 allows (the former
//! wins, the latter is dropped) and hides that there were both. A client that sends both is broken or attacks, so we
//! refuse, which takes seeing it. This follows the bytes that pass to hyper far enough to count those two fields per head;
//! it decides nothing else. Should it ever lose its place, it stops looking, and hyper's reading stands.

use std::mem;

/// Bytes of a line that are kept. Longer than `transfer-encoding` and than `content-length:` with any number; of other
/// lines the rest does not matter.
const LINE: usize = 64;

/// Follows the requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Framing {
    place: Place,
    /// The line so far, up to [`LINE`] bytes.
    line: Vec<u8>,
    head: Head,
    /// Heads that ended.
    heads: u64,
    ambiguous: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Place {
    #[default]
    Head,
    /// This many bytes of a body, or of a chunk and its end, are left.
    Body(u64),
    Chunk(u64),
    ChunkSize,
    Trailers,
    /// Not HTTP any more as far as we can tell.
    Lost,
}

/// What was seen of the head so far.
#[derive(Debug, Default)]
struct Head {
    request_line: bool,
    encodings: u32,
    lengths: u32,
    length: Option<u64>,
}

impl Framing {
    /// Takes the next bytes of the connection.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match &mut self.place {
                Place::Lost => return,
                Place::Body(left) | Place::Chunk(left) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= n as u64;
                    bytes = bytes.get(n..).unwrap_or_default();
                    if *left == 0 {
                        let chunk = matches!(self.place, Place::Chunk(_));
                        self.place = if chunk { Place::ChunkSize } else { Place::Head };
                    }
                }
                Place::Head | Place::ChunkSize | Place::Trailers => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
                    self.line.extend(part.iter().take(LINE - self.line.len()));
                    bytes = rest;
                    if end.is_some() {
                        let mut line = mem::take(&mut self.line);
                        self.end_line(line.trim_ascii_end());
                        line.clear();
                        self.line = line;
                    }
                }
            }
        }
    }

    /// The first head, counted from one, whose framing is ambiguous.
    pub(super) fn ambiguous(&self) -> Option<u64> {
        self.ambiguous
    }

    /// Between two requests.
    pub(super) fn is_at_rest(&self) -> bool {
        self.place == Place::Head && !self.head.request_line && self.line.is_empty()
    }

    /// Within a head.
    pub(super) fn is_in_head(&self) -> bool {
        self.place == Place::Head && !self.is_at_rest()
    }

    fn end_line(&mut self, line: &[u8]) {
        match self.place {
            Place::ChunkSize => self.place = chunk(line),
            Place::Trailers if line.is_empty() => self.place = Place::Head,
            Place::Head if line.is_empty() && self.head.request_line => self.end_head(),
            // Empty lines before a request are skipped (RFC 9112 §2.2).
            Place::Head if line.is_empty() => {}
            Place::Head if !self.head.request_line => self.head.request_line = true,
            Place::Head => self.head.field(line),
            _ => {}
        }
    }

    fn end_head(&mut self) {
        let head = mem::take(&mut self.head);
        self.heads += 1;
        self.place = match (head.encodings, head.lengths) {
            (0, 0) => Place::Head,
            (1.., 0) => Place::ChunkSize,
            (0, 1) => match head.length {
                Some(0) => Place::Head,
                Some(length) => Place::Body(length),
                None => Place::Lost,
            },
            _ => {
                self.ambiguous = Some(self.heads);
                Place::Lost
            }
        };
    }
}

impl Head {
    fn field(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.encodings += 1;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            self.lengths += 1;
            let digits = value.get(1..).unwrap_or_default().trim_ascii();
            self.length = number(digits, 10);
        }
    }
}

/// What follows the line that gives a chunk's size (RFC 9112 §7.1).
fn chunk(line: &[u8]) -> Place {
    let digits = line.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next().unwrap_or_default();
    match number(digits, 16) {
        Some(0) => Place::Trailers,
        // The chunk's own line end goes with it.
        Some(size) => size.checked_add(2).map_or(Place::Lost, Place::Chunk),
        None => Place::Lost,
    }
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    let text = std::str::from_utf8(digits).ok().filter(|_| plain)?;
    u64::from_str_radix(text, radix).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fed(parts: &[&str]) -> Framing {
        let mut framing = Framing::default();
        parts.iter().for_each(|part| framing.feed(part.as_bytes()));
        framing
    }

    const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    const POST: &str = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nGET /";
    const CHUNKED: &str = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nGET /\r\n1A\r\n\
                           abcdefghijklmnopqrstuvwxyz\r\n0\r\nTrailer-Field: 1\r\n\r\n";
    const BOTH: &str = "POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-ENCODING: chunked\r\n\r\n0\r\n\r\n";

    #[test]
    fn requests_are_followed_one_after_another() {
        let framing = fed(&[GET, POST, "\r\n\r\n", CHUNKED, GET]);
        assert_eq!((framing.heads, framing.ambiguous()), (4, None));
        assert!(framing.is_at_rest());
    }

    #[test]
    fn both_fields_in_one_head_are_seen_whatever_came_before() {
        assert_eq!(fed(&[BOTH]).ambiguous(), Some(1));
        assert_eq!(fed(&[GET, POST, CHUNKED, BOTH]).ambiguous(), Some(4));
        assert_eq!(fed(&["GET / HTTP/1.1\nTransfer-Encoding:chunked\nContent-Length:0\n\n"]).ambiguous(), Some(1));
        assert_eq!(fed(&["P / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"]).ambiguous(), Some(1));
    }

    #[test]
    fn what_looks_like_a_head_inside_a_body_is_none() {
        let length = BOTH.len();
        let hidden = format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n{BOTH}");
        assert_eq!(fed(&[&hidden, GET]).ambiguous(), None);
        let hidden = format!("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{length:x}\r\n{BOTH}\r\n0\r\n\r\n");
        let framing = fed(&[&hidden, GET]);
        assert_eq!((framing.heads, framing.ambiguous()), (2, None));
    }

    #[test]
    fn the_place_is_known() {
        let mut framing = Framing::default();
        assert!(framing.is_at_rest() && !framing.is_in_head());
        framing.feed(b"G");
        assert!(framing.is_in_head());
        framing.feed(b"ET / HTTP/1.1\r\n");
        assert!(framing.is_in_head());
        framing.feed(b"Content-Length: 3\r\n\r\nab");
        assert!(!framing.is_at_rest() && !framing.is_in_head());
        framing.feed(b"c");
        assert!(framing.is_at_rest());
    }

    #[test]
    fn nonsense_is_left_to_hyper() {
        for text in ["x / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "x\r\nContent-Length: +3\r\n\r\n"] {
            assert_eq!(fed(&[text]).place, Place::Lost, "{text}");
        }
        let huge = format!("x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n", u64::MAX);
        assert_eq!(fed(&[&huge]).place, Place::Lost);
    }

    proptest! {
        #[test]
        fn how_the_bytes_are_cut_makes_no_difference(cuts in prop::collection::vec(1..40usize, 1..80)) {
            let text = [GET, POST, CHUNKED, GET, BOTH].concat();
            let mut framing = Framing::default();
            let mut rest = text.as_bytes();
            for cut in cuts.into_iter().cycle() {
                if rest.is_empty() { break }
                let (part, later) = rest.split_at(cut.min(rest.len()));
                framing.feed(part);
                rest = later;
            }
            prop_assert_eq!(framing.ambiguous(), Some(5));
        }

        #[test]
        fn no_bytes_can_hurt(parts in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..50), 0..20)) {
            let mut framing = Framing::default();
            parts.iter().for_each(|part| framing.feed(part));
            prop_assert!(framing.line.len() <= LINE);
        }
    }
}
