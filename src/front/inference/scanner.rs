//! Finds the model and the prompt in the body of a request, as it passes.
//!
//! A state machine over bytes, not a parser: it follows strings, escapes and nesting well enough to know what stands at the
//! top, keeps nothing but one key and the model's name, and does not mind where a body is cut. What is not JSON, or breaks
//! off, is no error: less is known of it then, and the backend will say what is wrong.

use std::sync::Arc;

use super::prefix::Prefixes;
use crate::ledger::Model;

/// Bytes of a key that are kept: those that matter are shorter.
const KEY_MAX: usize = 32;

/// Bytes of a model's name as written that are kept: each character may be an escape of six.
const NAME_MAX: usize = 128 * 6;

/// Keys whose values are the turns of a conversation, one after another.
const TURNS: [&str; 2] = ["messages", "input"];

/// How APIs say that a model wrote a message.
const MODELS: [&[u8]; 2] = [b"\"assistant\"", b"\"model\""];

/// Other keys whose values a model reads before it answers.
const PROMPT: [&str; 5] = ["prompt", "system", "instructions", "tools", "query"];

/// One pass over a body.
#[derive(Debug, Default)]
pub(in crate::front) struct Scanner {
    state: State,
    /// Objects and arrays that are open.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The string that is kept, with its quotes: a key at the top, or the model's name.
    kept: Vec<u8>,
    model: Option<String>,
    /// By Ollama's older word for it.
    name: Option<String>,
    /// The message that is open is one that a model wrote.
    by_model: bool,
    prefixes: Prefixes,
}

/// What the next byte is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Nothing but blanks yet.
    #[default]
    Start,
    /// A key at the top, or the end.
    Key,
    Colon,
    /// The value of a key.
    Value(Use),
    /// Not an object, or it has ended.
    Done,
}

/// What a value is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Use {
    Model,
    Name,
    Turns,
    Prompt,
    None,
}

impl Scanner {
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
        let model = self.model.as_deref().or(self.name.as_deref())?;
        Model::is_name(model).then(|| model.into())
    }

    /// Hashes of ever longer beginnings of the prompt, for that model.
    pub(in crate::front) fn prefixes(&self) -> Vec<u64> {
        self.prefixes.of(self.model.as_deref().or(self.name.as_deref()).unwrap_or_default())
    }

    fn step(&mut self, byte: u8) {
        match self.state {
            State::Start if byte == b'{' => {
                self.depth = 1;
                self.state = State::Key;
            }
            // A byte order mark is none of JSON, but some servers take it.
            State::Start if byte.is_ascii_whitespace() || matches!(byte, 0xef | 0xbb | 0xbf) => {}
            State::Start | State::Done => self.state = State::Done,
            State::Key => self.step_key(byte),
            State::Colon if byte == b':' => self.state = State::Value(self.meaning()),
            State::Colon if byte.is_ascii_whitespace() => {}
            State::Colon => self.state = State::Done,
            State::Value(use_) => self.step_value(byte, use_),
        }
    }

    fn step_key(&mut self, byte: u8) {
        if self.in_string {
            self.keep(byte, KEY_MAX);
            if self.ends_string(byte) {
                self.state = State::Colon;
            }
        } else if byte == b'"' {
            self.in_string = true;
            self.kept.clear();
            self.kept.push(byte);
        } else if !(byte.is_ascii_whitespace() || byte == b',') {
            self.state = State::Done;
        }
    }

    fn step_value(&mut self, byte: u8, use_: Use) {
        let is_name = matches!(use_, Use::Model | Use::Name) && self.depth == 1;
        let is_in_message = use_ == Use::Turns && self.depth == 3;
        if self.in_string {
            if is_name || is_in_message {
                self.keep(byte, NAME_MAX);
            }
            let ended = self.ends_string(byte);
            self.by_model |= ended && is_in_message && MODELS.contains(&self.kept.as_slice());
            if ended && is_name {
                let text = serde_json::from_slice(&self.kept).ok();
                if use_ == Use::Model { self.model = text } else { self.name = text }
            }
            if matches!(use_, Use::Turns | Use::Prompt) {
                self.prefixes.push(byte);
            }
            return;
        }
        match byte {
            b'"' => {
                self.in_string = true;
                self.kept.clear();
                self.kept.push(byte);
            }
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => {
                self.depth -= 1;
                if self.depth == 0 {
                    self.state = State::Done;
                    return;
                }
            }
            b',' if self.depth == 1 => {
                self.state = State::Key;
                return;
            }
            _ => {}
        }
        if matches!(use_, Use::Turns | Use::Prompt) {
            self.prefixes.push(byte);
        }
        // Whoever got the message before a model's own has that one in its cache, too: there it came from.
        if use_ == Use::Turns && self.depth == 2 && byte == b'}' && !std::mem::take(&mut self.by_model) {
            self.prefixes.mark();
        }
    }

    /// Whether `byte`, inside of a string, ends it.
    fn ends_string(&mut self, byte: u8) -> bool {
        let is_escaped = std::mem::take(&mut self.escaped);
        self.escaped = byte == b'\\' && !is_escaped;
        self.in_string = is_escaped || byte != b'"';
        !self.in_string
    }

    /// Too long a string is no string that matters: it will not parse.
    fn keep(&mut self, byte: u8, limit: usize) {
        if self.kept.len() < limit + 2 {
            self.kept.push(byte);
        }
    }

    fn meaning(&self) -> Use {
        match serde_json::from_slice::<String>(&self.kept).as_deref() {
            Ok("model") => Use::Model,
            Ok("name") => Use::Name,
            Ok(key) if TURNS.contains(&key) => Use::Turns,
            Ok(key) if PROMPT.contains(&key) => Use::Prompt,
            _ => Use::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn scan(text: &str) -> Scanner {
        let mut scanner = Scanner::default();
        scanner.feed(text.as_bytes());
        scanner
    }

    fn model(text: &str) -> Option<String> {
        scan(text).model().map(|model| model.to_string())
    }

    #[test]
    fn the_model_is_found_wherever_it_stands() {
        for text in [
            r#"{"model":"a/b:c"}"#,
            "\n { \"x\" : [1, {\"model\": \"no\"}], \"model\" \t:\n \"a/b:c\" , \"y\": 1}",
            r#"{"messages":[{"role":"user","content":"\"model\":\"no\" }{ ] \\"}],"model":"a/b:c"}"#,
            r#"{"mo\u0064el":"a\/b:\u0063"}"#,
            r#"{"model":"no","model":"a/b:c"}"#,
            r#"{"model":"a/b:c","messages":[{"role":"#,
            "\u{feff}{\"model\":\"a/b:c\"}",
            r#"{"name":"old","model":"a/b:c"}"#,
        ] {
            assert_eq!(model(text).as_deref(), Some("a/b:c"), "{text}");
        }
        assert_eq!(model(r#"{"name":"old","insecure":true}"#).as_deref(), Some("old"));
    }

    #[test]
    fn where_there_is_none_nothing_is_made_up() {
        let long = format!(r#"{{"model":"{}"}}"#, "a".repeat(1000));
        for text in [
            "",
            "[]",
            r#"["model","a"]"#,
            r#"{"model":1}"#,
            r#"{"model":["a"]}"#,
            r#"{"model":{"model":"a"}}"#,
            r#"{"model":"a b"}"#,
            r#"{"model":""}"#,
            r#"{"model":"a"#,
            r#"{"x":"model","y":"a"}"#,
            r#"{}{"model":"a"}"#,
            r#"model=a"#,
            long.as_str(),
        ] {
            assert_eq!(model(text), None, "{text}");
        }
    }

    fn value() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[ -~]{0,12}", "\\PC{0,6}", Just("model".to_owned())];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            text.clone().prop_map(Value::from)
        ];
        leaf.prop_recursive(3, 24, 4, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..4)
                    .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn it_reads_as_a_parser_does(
            before in prop::collection::vec(("[a-z\"\\\\]{0,6}", value()), 0..4),
            after in prop::collection::vec(("[a-z\"\\\\]{0,6}", value()), 0..4),
            name in prop_oneof!["[!-~]{1,20}".prop_map(Value::from), value()],
            pretty in any::<bool>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let mut pairs: Vec<(String, Value)> = before;
            pairs.push(("model".to_owned(), name));
            pairs.extend(after);
            let write = |value: &Value| if pretty { serde_json::to_string_pretty(value).unwrap() } else { value.to_string() };
            let members: Vec<String> = pairs.iter().map(|(key, value)| format!("{}:{}", json!(key), write(value))).collect();
            let text = format!("{{{}}}", members.join(","));
            let parsed: Value = serde_json::from_str(&text).unwrap();
            let string = |key: &str| parsed.get(key).and_then(Value::as_str).map(str::to_owned);
            let expected = string("model").or_else(|| string("name")).filter(|model| Model::is_name(model));
            let mut scanner = Scanner::default();
            let cut = cut.index(text.len() + 1);
            scanner.feed(&text.as_bytes()[..cut]);
            prop_assert!(scanner.feed(&text.as_bytes()[cut..]), "it knows where the body ends");
            prop_assert_eq!(scanner.model().map(|model| model.to_string()), expected, "{}", text);
        }

        #[test]
        fn nothing_makes_it_panic_or_keep_much(bytes in prop::collection::vec(prop_oneof![any::<u8>(), prop::sample::select(b"{}[]\",:\\model".to_vec())], 0..300)) {
            let mut scanner = Scanner::default();
            scanner.feed(&bytes);
            prop_assert!(scanner.kept.len() <= NAME_MAX + 2);
            let _ = (scanner.model(), scanner.prefixes());
        }
    }
}
