//! Where the messages of one direction of HTTP/1 begin and end (RFC 9112).

use std::mem;

/// Bytes of a line that are kept: longer than a method, a status line up to its reason, and the fields that say how long a
/// body is. Of other lines the rest does not matter.
const LINE: usize = 64;

/// Follows the messages of one direction, one after another.
#[derive(Debug, Default)]
pub(super) struct Messages {
    place: Place,
    /// The line so far, up to [`LINE`] bytes.
    line: Vec<u8>,
    /// There was more of it.
    is_cut: bool,
    head: Head,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Place {
    /// Before a first line. Empty lines are skipped (RFC 9112 §2.2).
    #[default]
    Between,
    Fields,
    /// This many bytes of a body, or of a chunk and its line end, are left.
    Body(u64),
    Chunk(u64),
    ChunkSize,
    Trailers,
    UntilEnd,
}

/// What a head says.
#[derive(Debug, Default)]
pub(super) struct Head {
    /// The beginning of the first line.
    first: Vec<u8>,
    /// It has a transfer coding; whether the last one is `chunked`.
    chunked: Option<bool>,
    length: Option<u64>,
    is_wrong: bool,
}

/// How long a message goes on behind its head.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Body {
    Length(u64),
    Chunks,
    /// Until the direction ends.
    UntilEnd,
}

/// What was met.
#[derive(Debug)]
pub(super) enum Event {
    /// The end of a head. [`Messages::goes_on`] has to be called next.
    Head(Head),
    /// The end of a message.
    End,
    /// It can't be followed any further.
    Lost,
}

impl Messages {
    /// Takes bytes off until something is met, or all are taken.
    pub(super) fn next(&mut self, bytes: &mut &[u8]) -> Option<Event> {
        while !bytes.is_empty() {
            let event = match &mut self.place {
                Place::Body(left) | Place::Chunk(left) => {
                    let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                    *left -= n as u64;
                    *bytes = bytes.get(n..).unwrap_or_default();
                    match self.place {
                        Place::Chunk(0) => {
                            self.place = Place::ChunkSize;
                            None
                        }
                        Place::Body(0) => self.end(),
                        _ => None,
                    }
                }
                Place::UntilEnd => {
                    *bytes = &[];
                    None
                }
                Place::Between | Place::Fields | Place::ChunkSize | Place::Trailers => self.take_line(bytes),
            };
            if event.is_some() {
                return event;
            }
        }
        None
    }

    /// How the message whose head was met goes on. Whether it ends with the head.
    pub(super) fn goes_on(&mut self, body: Body) -> bool {
        self.place = match body {
            Body::Length(0) => Place::Between,
            Body::Length(length) => Place::Body(length),
            Body::Chunks => Place::ChunkSize,
            Body::UntilEnd => Place::UntilEnd,
        };
        self.place == Place::Between
    }

    /// Between two messages.
    pub(super) fn is_between(&self) -> bool {
        self.place == Place::Between && self.line.is_empty()
    }

    fn take_line(&mut self, bytes: &mut &[u8]) -> Option<Event> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
        let room = LINE - self.line.len();
        self.line.extend(part.iter().take(room));
        // The line end itself may be cut off.
        self.is_cut |= part.len() > room && !part.get(room..).unwrap_or_default().trim_ascii().is_empty();
        *bytes = rest;
        end?;
        let (line, is_cut) = (mem::take(&mut self.line), mem::take(&mut self.is_cut));
        let event = self.end_line(line.trim_ascii_end(), is_cut);
        // A long connection has many lines, and one buffer.
        self.line = line;
        self.line.clear();
        event
    }

    fn end_line(&mut self, line: &[u8], is_cut: bool) -> Option<Event> {
        match self.place {
            Place::Between if line.is_empty() => None,
            Place::Between => {
                self.head = Head { first: line.to_vec(), ..Head::default() };
                self.place = Place::Fields;
                None
            }
            Place::Fields if !line.is_empty() => {
                self.head.field(line, is_cut);
                None
            }
            Place::Fields if self.head.is_wrong => Some(Event::Lost),
            Place::Fields => Some(Event::Head(mem::take(&mut self.head))),
            Place::ChunkSize => match chunk_size(line) {
                Some(0) => {
                    self.place = Place::Trailers;
                    None
                }
                // The chunk's own line end goes with it.
                Some(size) if size < u64::MAX - 2 => {
                    self.place = Place::Chunk(size + 2);
                    None
                }
                _ => Some(Event::Lost),
            },
            Place::Trailers if line.is_empty() => self.end(),
            _ => None,
        }
    }

    fn end(&mut self) -> Option<Event> {
        self.place = Place::Between;
        Some(Event::End)
    }
}

impl Head {
    fn field(&mut self, line: &[u8], is_cut: bool) {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.is_wrong |= is_cut;
            let last = value.rsplit(|byte| *byte == b',').next().unwrap_or_default().trim_ascii();
            self.chunked = Some(last.eq_ignore_ascii_case(b"chunked"));
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value, 10).filter(|_| !is_cut);
            self.is_wrong |= length.is_none() || self.length.is_some_and(|before| Some(before) != length);
            self.length = length;
        }
    }

    /// The method of a request.
    pub(super) fn method(&self) -> &[u8] {
        self.first.split(|byte| *byte == b' ').next().unwrap_or_default()
    }

    /// The status of a response.
    pub(super) fn status(&self) -> Option<u16> {
        let [a, b, c] = self.first.strip_prefix(b"HTTP/1.")?.get(2..)?.first_chunk::<3>()?;
        [a, b, c]
            .iter()
            .all(|digit| digit.is_ascii_digit())
            .then(|| [a, b, c].iter().fold(0, |status, digit| status * 10 + u16::from(**digit - b'0')))
    }

    /// What the fields say of a request's body (RFC 9112 §6.3). A coding beats a length.
    pub(super) fn request_body(&self) -> Option<Body> {
        match (self.chunked, self.length) {
            (Some(true), _) => Some(Body::Chunks),
            // Nobody could tell where it ends.
            (Some(false), _) => None,
            (None, length) => Some(Body::Length(length.unwrap_or(0))),
        }
    }

    /// What they say of a response's, where it may have one.
    pub(super) fn response_body(&self) -> Body {
        match (self.chunked, self.length) {
            (Some(true), _) => Body::Chunks,
            (None, Some(length)) => Body::Length(length),
            (Some(false), _) | (None, None) => Body::UntilEnd,
        }
    }
}

fn chunk_size(line: &[u8]) -> Option<u64> {
    number(line.split(|byte| matches!(byte, b';' | b' ' | b'\t')).next().unwrap_or_default(), 16)
}

fn number(digits: &[u8], radix: u32) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_hexdigit);
    u64::from_str_radix(std::str::from_utf8(digits).ok().filter(|_| plain)?, radix).ok()
}
