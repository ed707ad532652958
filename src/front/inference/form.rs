//! Finds the model in a body of `multipart/form-data` (RFC 7578), as audio and pictures are sent, as it passes.
//!
//! A machine over bytes like the [`Scanner`](super::Scanner): it follows the delimiters, keeps one part's head or the model's
//! name and nothing else, and does not mind where a body is cut. The first field of that name counts, and ends the look:
//! clients write it before the file.

use std::sync::Arc;

use crate::ledger::Model;

/// Bytes of a boundary (RFC 2046 §5.1.1).
const BOUNDARY_MAX: usize = 70;

/// Bytes of a part's head: a few short lines. With a longer one the look ends.
const HEAD_MAX: usize = 4096;

/// Bytes of the field's value that are kept: a longer one is no model's name.
const VALUE_MAX: usize = 512;

/// One pass over a body.
#[derive(Debug)]
pub(in crate::front) struct Form {
    /// What stands before each part, from the line end that belongs to it.
    delimiter: Vec<u8>,
    /// Bytes of the delimiter that were just seen.
    matched: usize,
    state: State,
    /// The head of the part that begins, or the value of the field.
    kept: Vec<u8>,
    model: Option<Arc<str>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Content { is_model: bool },
    Done,
}

impl Form {
    /// For a body of that content type; none if it is another kind of body.
    pub(in crate::front) fn of(content_type: &str) -> Option<Self> {
        let (kind, parameters) = content_type.split_once(';')?;
        if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameter(parameters, "boundary")?;
        (1..=BOUNDARY_MAX).contains(&boundary.len()).then(|| Self {
            delimiter: format!("\r\n--{boundary}").into_bytes(),
            // The first needs no line end before it.
            matched: 2,
            state: State::Content { is_model: false },
            kept: Vec::new(),
            model: None,
        })
    }

    /// Takes the next bytes. True once nothing further can be learned.
    pub(in crate::front) fn feed(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            match self.state {
                State::Head => self.step_head(*byte),
                State::Content { is_model } => self.step_content(*byte, is_model),
                State::Done => break,
            }
        }
        self.state == State::Done
    }

    /// The model that was asked for, as far as it was seen.
    pub(in crate::front) fn model(&self) -> Option<Arc<str>> {
        self.model.clone()
    }

    fn step_head(&mut self, byte: u8) {
        self.kept.push(byte);
        if self.kept == b"--" || self.kept.len() > HEAD_MAX {
            self.state = State::Done;
        } else if self.kept.ends_with(b"\r\n\r\n") {
            let is_model =
                String::from_utf8_lossy(&self.kept).lines().any(|line| field(line).as_deref() == Some("model"));
            self.kept.clear();
            self.state = State::Content { is_model };
            // An empty part's delimiter has the head's line end for its own.
            self.matched = 2;
        }
    }

    fn step_content(&mut self, byte: u8, is_model: bool) {
        if is_model && self.kept.len() <= VALUE_MAX + self.delimiter.len() {
            self.kept.push(byte);
        }
        // A boundary has no line ends, so a delimiter can begin again only with the byte that broke it.
        self.matched = match self.delimiter.get(self.matched) {
            Some(expected) if *expected == byte => self.matched + 1,
            _ => usize::from(byte == b'\r'),
        };
        if self.matched < self.delimiter.len() {
            return;
        }
        self.state = State::Head;
        if is_model {
            let value =
                self.kept.strip_suffix(self.delimiter.as_slice()).and_then(|value| std::str::from_utf8(value).ok());
            self.model = value.filter(|value| Model::is_name(value)).map(Arc::from);
            self.state = State::Done;
        }
        self.kept.clear();
        self.matched = 0;
    }
}

/// The name of the field whose head has that line.
fn field(line: &str) -> Option<String> {
    let (name, value) = line.split_once(':')?;
    let (kind, parameters) = value.split_once(';')?;
    let is_field = name.eq_ignore_ascii_case("content-disposition") && kind.trim().eq_ignore_ascii_case("form-data");
    is_field.then(|| parameter(parameters, "name")).flatten()
}

/// The first parameter of that name. A semicolon between quotation marks separates nothing.
fn parameter(parameters: &str, name: &str) -> Option<String> {
    let mut is_quoted = false;
    let mut pairs = parameters.split(|character| {
        is_quoted ^= character == '"';
        character == ';' && !is_quoted
    });
    pairs.find_map(|pair| {
        let (key, value) = pair.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KIND: &str = "multipart/form-data; boundary=0a1b2c";

    fn part(head: &str, content: &str) -> String {
        format!("--0a1b2c\r\nContent-Disposition: form-data; {head}\r\n\r\n{content}\r\n")
    }

    /// As Python's client sends a recording, with its fields in this order.
    fn body(order: &[usize]) -> String {
        let file = "name=\"file\"; filename=\"a; name=x.wav\"\r\nContent-Type: audio/wav";
        let parts = [
            part("name=\"model\"", "whisper-1"),
            part("name=\"response_format\"", "json"),
            part(file, "RIFF\r\n--0a1b2\r\r\n--no\r\n\r\nname=\"model\""),
        ];
        let parts: String = order.iter().map(|place| parts[*place].as_str()).collect();
        format!("{parts}--0a1b2c--\r\n")
    }

    fn model(kind: &str, body: &str) -> Option<String> {
        let mut form = Form::of(kind)?;
        form.feed(body.as_bytes());
        form.model().map(|model| model.to_string())
    }

    #[test]
    fn the_model_of_a_recording_is_found_wherever_it_stands() {
        for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [1, 2, 0]] {
            assert_eq!(model(KIND, &body(&order)).as_deref(), Some("whisper-1"), "{order:?}");
        }
        let quoted = "Multipart/Form-Data; charset=utf-8; boundary=\"0a1b2c\"";
        assert_eq!(model(quoted, &part("name=model", "a/b:c").repeat(2)).as_deref(), Some("a/b:c"));
        let behind_an_empty_part = format!("--0a1b2c\r\n\r\n{}", body(&[0]));
        assert_eq!(model(KIND, &behind_an_empty_part).as_deref(), Some("whisper-1"));
    }

    #[test]
    fn where_a_form_has_none_nothing_is_made_up() {
        let file = part("name=\"file\"; filename=\"x; name=model\"", "whisper-1");
        let long = part("name=\"model\"", &"a".repeat(10_000));
        for text in ["", "--0a1b2c--", &body(&[1, 2]), &file, &long, &part("name=\"model\"", "a b"), &body(&[0])[..60]]
        {
            assert_eq!(model(KIND, &format!("{text}--0a1b2")), None, "{text}");
        }
        for kind in [
            "application/json",
            "multipart/form-data",
            "multipart/form-data; boundary=",
            "multipart/mixed; boundary=0a1b2c",
        ] {
            assert!(Form::of(kind).is_none(), "{kind}");
        }
    }

    proptest! {
        #[test]
        fn a_form_may_be_cut_anywhere(order in Just(vec![0usize, 1, 2]).prop_shuffle(), cut in any::<prop::sample::Index>()) {
            let body = body(&order);
            let cut = cut.index(body.len());
            let mut form = Form::of(KIND).unwrap();
            form.feed(&body.as_bytes()[..cut]);
            prop_assert!(form.feed(&body.as_bytes()[cut..]), "it knows where to stop");
            prop_assert_eq!(form.model(), Some(Arc::from("whisper-1")));
        }

        #[test]
        fn no_form_makes_it_panic_or_keep_much(bytes in prop::collection::vec(prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'-'), Just(b'a'), any::<u8>()], 0..6000)) {
            let mut form = Form::of("multipart/form-data; boundary=a").unwrap();
            form.feed(&bytes);
            prop_assert!(form.kept.len() <= HEAD_MAX + 1);
        }
    }
}
