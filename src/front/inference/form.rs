//! Finds the model in a form (RFC 7578), as it passes: so audio and images are sent to model servers.
//!
//! Like [`Scanner`](super::Scanner) it follows the parts and keeps nothing but one line and the model's name. A form in which the
//! model stands behind a large file, beyond what is looked at, tells of none.

use std::sync::Arc;

use hyper::{HeaderMap, header::CONTENT_TYPE};

use crate::ledger::Model;

/// Characters of a boundary at most (RFC 2046 §5.1.1).
const BOUNDARY_MAX: usize = 70;

/// Bytes of a part's header line, or of a model's name, that are kept; those that matter are shorter.
const KEPT_MAX: usize = 512;

/// One pass over a form.
#[derive(Debug)]
pub(in crate::front) struct Form {
    /// What stands between two parts: line break, two dashes, boundary.
    delimiter: Vec<u8>,
    /// Bytes of it that were just seen.
    matched: usize,
    state: State,
    /// A header line, or the model's name.
    kept: Vec<u8>,
    model: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a part, or before the first.
    Value {
        is_model: bool,
    },
    /// In the line of a delimiter.
    Delimiter,
    /// In the header of a part.
    Head {
        is_model: bool,
    },
    Done,
}

impl Form {
    /// For a body that these header fields say is a form.
    pub(in crate::front) fn of(headers: &HeaderMap) -> Option<Self> {
        let kind = headers.get(CONTENT_TYPE)?.to_str().ok()?;
        let (essence, parameters) = kind.split_once(';')?;
        if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
            return None;
        }
        let boundary = parameter(parameters, "boundary")?;
        let is_one =
            (1..=BOUNDARY_MAX).contains(&boundary.len()) && boundary.bytes().all(|byte| (b' '..=b'~').contains(&byte));
        is_one.then(|| Self {
            delimiter: [b"\r\n--", boundary.as_bytes()].concat(),
            // The first one may stand at the very beginning.
            matched: 2,
            state: State::Value { is_model: false },
            kept: Vec::new(),
            model: None,
        })
    }

    /// Takes the next bytes. True once nothing further can be learned.
    pub(in crate::front) fn feed(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if self.state == State::Done {
                break;
            }
            self.step(*byte);
        }
        self.state == State::Done
    }

    /// The model that was asked for, as far as it was seen.
    pub(in crate::front) fn model(&self) -> Option<Arc<str>> {
        self.model.as_deref().filter(|model| Model::is_name(model)).map(Arc::from)
    }

    fn step(&mut self, byte: u8) {
        match self.state {
            State::Value { is_model } => self.step_value(byte, is_model),
            State::Delimiter if byte == b'\n' => {
                // The last one ends with two dashes.
                let is_last = self.kept.starts_with(b"--");
                self.kept.clear();
                self.state = if is_last { State::Done } else { State::Head { is_model: false } };
            }
            State::Head { is_model } if byte == b'\n' => {
                let line = self.kept.trim_ascii();
                self.state = match line.is_empty() {
                    true => State::Value { is_model },
                    false => State::Head { is_model: is_model || names_model(line) },
                };
                self.kept.clear();
                self.matched = 0;
            }
            State::Delimiter | State::Head { .. } => self.keep(byte),
            State::Done => {}
        }
    }

    fn step_value(&mut self, byte: u8, is_model: bool) {
        if self.delimiter.get(self.matched) == Some(&byte) {
            self.matched += 1;
            if self.matched == self.delimiter.len() {
                if is_model {
                    self.model = std::str::from_utf8(&self.kept).ok().map(|name| name.trim().to_owned());
                    self.state = State::Done;
                } else {
                    self.state = State::Delimiter;
                }
                self.kept.clear();
                self.matched = 0;
            }
            return;
        }
        // A delimiter holds one carriage return, its first byte: only that can begin another one.
        let seen = std::mem::replace(&mut self.matched, usize::from(byte == b'\r'));
        if is_model {
            for index in 0..seen {
                self.keep(self.delimiter.get(index).copied().unwrap_or_default());
            }
            if self.matched == 0 {
                self.keep(byte);
            }
        }
    }

    /// What is longer is not what is looked for.
    fn keep(&mut self, byte: u8) {
        if self.kept.len() < KEPT_MAX {
            self.kept.push(byte);
        }
    }
}

/// Whether a part's header line says that the part is the field `model`.
fn names_model(line: &[u8]) -> bool {
    let Some((name, value)) = std::str::from_utf8(line).ok().and_then(|line| line.split_once(':')) else {
        return false;
    };
    let parameters = value.split_once(';').map(|(_, parameters)| parameters);
    name.trim().eq_ignore_ascii_case("content-disposition")
        && parameters.is_some_and(|parameters| parameter(parameters, "name").as_deref() == Some("model"))
}

/// The value of a parameter, with or without quotes. None where a quoted one holds what has to be escaped: no name or boundary
/// that matters does.
fn parameter(parameters: &str, wanted: &str) -> Option<String> {
    let value = parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim())
    })?;
    Some(value.strip_prefix('"').and_then(|value| value.strip_suffix('"')).unwrap_or(value).to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDARY: &str = "0e1b-XyZ";

    fn form(kind: &str) -> Option<Form> {
        Form::of(&[(CONTENT_TYPE, kind.parse().unwrap())].into_iter().collect())
    }

    fn part(head: &str, value: &str) -> String {
        format!("--{BOUNDARY}\r\nContent-Disposition: form-data; {head}\r\n\r\n{value}\r\n")
    }

    fn file(bytes: &str) -> String {
        let head = "name=\"file\"; filename=\"a.wav\"\r\nContent-Type: audio/wav";
        part(head, bytes)
    }

    fn model(body: &str) -> Option<String> {
        let mut form = form(&format!("multipart/form-data; boundary={BOUNDARY}")).unwrap();
        form.feed(body.as_bytes());
        form.model().map(|model| model.to_string())
    }

    #[test]
    fn the_model_is_found_before_and_behind_a_file() {
        let end = format!("--{BOUNDARY}--\r\n");
        let named = part("name=\"model\"", "whisper-1");
        let tricky = file("RIFF\r\n--0e1b-XyY\r\n\r\n--0e1b\r\r\n-");
        for body in [
            format!("{named}{}{end}", file("RIFF")),
            format!("{tricky}{named}{end}"),
            format!("{}{named}{end}", part("name=\"prompt\"", "name=\"model\"\r\n\r\nno")),
            format!("a preamble\r\n{}{end}", part("NAME=model", " whisper-1 ")),
        ] {
            assert_eq!(model(&body).as_deref(), Some("whisper-1"), "{body}");
        }
    }

    #[test]
    fn where_there_is_none_nothing_is_made_up() {
        let end = format!("--{BOUNDARY}--\r\n");
        for body in [
            String::new(),
            file("RIFF") + &end,
            part("name=\"model\"; x", "whisper-1").trim_end().to_owned(),
            part("name=\"model\"", "two words") + &end,
            part("name=\"model\"", &"a".repeat(1000)) + &end,
            format!("{}{end}{}", file(""), part("name=\"model\"", "whisper-1")),
            "--other\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nwhisper-1\r\n--other--".to_owned(),
        ] {
            assert_eq!(model(&body), None, "{body}");
        }
    }

    #[test]
    fn what_is_no_form_is_none() {
        for kind in
            ["application/json", "multipart/form-data", "multipart/mixed; boundary=a", "multipart/form-data; boundary="]
        {
            assert!(form(kind).is_none(), "{kind}");
        }
        assert!(form(&format!("multipart/form-data; boundary={}", "a".repeat(71))).is_none());
        assert!(form("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"").is_some());
    }

    proptest! {
        #[test]
        fn it_does_not_matter_where_a_form_is_cut(name in "[a-z0-9:/-]{1,40}", junk in "(\r|\n|-|[a-z0-9]){0,60}", cut in 1..40usize) {
            let body = format!("{}{}--{BOUNDARY}--", file(&junk), part("name=\"model\"", &name));
            let mut form = form(&format!("multipart/form-data; boundary={BOUNDARY}")).unwrap();
            body.as_bytes().chunks(cut).for_each(|bytes| { form.feed(bytes); });
            let model = form.model();
            prop_assert_eq!(model.as_deref(), Some(name.as_str()));
        }

        #[test]
        fn no_bytes_can_hurt(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let mut form = form("multipart/form-data; boundary=a").unwrap();
            form.feed(&bytes);
            prop_assert!(form.kept.len() <= KEPT_MAX);
        }
    }
}
