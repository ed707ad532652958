//! Counts the tokens of an answer as it passes, from what the server says of them.
//!
//! Every API tells at the end, in numbers beside keys of their own. In JSON such a key, with its quotes and a colon behind
//! it, can't stand inside of a text, whose quotes are escaped. So it is enough to look for the keys; and nothing but one
//! key and one number is kept, however long the answer and wherever it is cut into frames.

/// Keys that say what was read, and those that say what was made.
const READ: [&[u8]; 3] = [b"prompt_tokens", b"input_tokens", b"prompt_eval_count"];
const MADE: [&[u8]; 3] = [b"completion_tokens", b"output_tokens", b"eval_count"];

/// The key of a piece of a streamed answer, usually one token.
const PIECE: &[u8] = b"delta";

/// Bytes of a key that are kept: no less than the longest.
const KEY_MAX: usize = 20;

/// No answer has more tokens; a larger number is none.
const TOKENS_MAX: u64 = 1 << 32;

/// What is known of one answer's tokens.
#[derive(Debug, Default)]
pub(in crate::front) struct Tokens {
    state: State,
    key: Vec<u8>,
    number: u64,
    read: Option<u64>,
    made: Option<u64>,
    pieces: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    /// Outside of anything that may be a key.
    #[default]
    Outside,
    /// Behind a quote.
    Key,
    /// Behind one of the keys.
    Colon(Counts),
    Number(Counts, bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Counts {
    Read,
    Made,
    Pieces,
}

impl Tokens {
    /// Takes the next bytes of the answer.
    pub(in crate::front) fn feed(&mut self, mut bytes: &[u8]) {
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.state == State::Outside && byte != b'"' {
                // Most of an answer.
                let Some(quote) = rest.iter().position(|byte| *byte == b'"') else { return };
                bytes = rest.get(quote..).unwrap_or_default();
                continue;
            }
            self.step(byte);
            bytes = rest;
        }
    }

    /// Tokens read and made, if the server said so.
    pub(in crate::front) fn counted(&self) -> Option<(u64, u64)> {
        match (self.read, self.made) {
            (None, None) => None,
            (read, made) => Some((read.unwrap_or(0), made.unwrap_or(0))),
        }
    }

    /// Pieces of a streamed answer of which the server said nothing: about as many tokens.
    pub(in crate::front) fn estimated(&self) -> u64 {
        if self.made.is_none() { self.pieces } else { 0 }
    }

    fn step(&mut self, byte: u8) {
        match (self.state, byte) {
            // It may end a key, and it may begin one: no need to know which.
            (State::Key, b'"') => {
                let key = self.key.as_slice();
                if READ.contains(&key) {
                    self.state = State::Colon(Counts::Read);
                } else if MADE.contains(&key) {
                    self.state = State::Colon(Counts::Made);
                } else if key == PIECE {
                    self.state = State::Colon(Counts::Pieces);
                }
                self.key.clear();
            }
            (_, b'"') => {
                self.finish();
                self.state = State::Key;
                self.key.clear();
            }
            (State::Key, _) if self.key.len() < KEY_MAX => self.key.push(byte),
            (State::Key, _) => self.state = State::Outside,
            (State::Colon(Counts::Pieces), b':') => {
                self.pieces += 1;
                self.state = State::Outside;
            }
            (State::Colon(counts), b':') => {
                self.number = 0;
                self.state = State::Number(counts, false);
            }
            (State::Number(counts, _), b'0'..=b'9') => {
                self.number = self.number.saturating_mul(10).saturating_add(u64::from(byte - b'0'));
                self.state = State::Number(counts, true);
            }
            (State::Colon(_) | State::Number(_, false), b' ' | b'\t' | b'\r' | b'\n') => {}
            _ => self.finish(),
        }
    }

    /// A number ends here, if there was one. The last one counts: streams say it more than once.
    fn finish(&mut self) {
        if let State::Number(counts, true) = self.state
            && self.number <= TOKENS_MAX
        {
            match counts {
                Counts::Read => self.read = Some(self.number),
                Counts::Made => self.made = Some(self.number),
                Counts::Pieces => {}
            }
        }
        self.state = State::Outside;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn count(text: &str) -> Option<(u64, u64)> {
        let mut tokens = Tokens::default();
        tokens.feed(text.as_bytes());
        tokens.counted()
    }

    const OPENAI: &str = r#"{"choices":[],"usage":{"prompt_tokens": 17,"completion_tokens":205,"total_tokens":222,"prompt_tokens_details":{"cached_tokens":3}}}"#;
    const STREAM: &str = "data: {\"choices\":[{\"delta\":{\"content\":\"\\\"prompt_tokens\\\":99\"}}],\"usage\":null}\n\ndata: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":8}}\n\ndata: [DONE]\n\n";
    const ANTHROPIC: &str = "event: message_start\ndata: {\"message\":{\"usage\":{\"input_tokens\":25,\"cache_read_input_tokens\":4,\"output_tokens\":1}}}\n\nevent: message_delta\ndata: {\"usage\":{\"output_tokens\":15}}\n\n";
    const OLLAMA: &str = "{\"response\":\"hi\",\"done\":false}\n{\"done\":true,\"prompt_eval_count\":26,\"prompt_eval_duration\":13,\"eval_count\":298,\"eval_duration\":4}\n";

    #[test]
    fn every_api_is_understood() {
        assert_eq!(count(OPENAI), Some((17, 205)));
        assert_eq!(count(STREAM), Some((7, 8)));
        assert_eq!(count(ANTHROPIC), Some((25, 15)), "the last word counts");
        assert_eq!(count(OLLAMA), Some((26, 298)));
        assert_eq!(count(r#"{"usage":{"prompt_tokens":12,"total_tokens":12}}"#), Some((12, 0)));
    }

    #[test]
    fn where_the_server_says_nothing_pieces_are_counted_apart() {
        let mut tokens = Tokens::default();
        tokens.feed(b"data: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\n\n");
        tokens.feed(b"data: {\"choices\":[{\"delta\": {\"content\":\"\\\"delta\\\":\"}}]}\n\ndata: [DONE]\n\n");
        assert_eq!((tokens.counted(), tokens.estimated()), (None, 2));
        tokens.feed(STREAM.as_bytes());
        assert_eq!((tokens.counted(), tokens.estimated()), (Some((7, 8)), 0));
    }

    #[test]
    fn what_a_text_says_is_not_counted() {
        for text in [
            "",
            r#"{"content":"prompt_tokens"}"#,
            r#"{"content":"\"prompt_tokens\": 5"}"#,
            r#"{"content":"\\","x":"prompt_tokens","y":5}"#,
            r#"{"prompt_tokens":"5"}"#,
            r#"{"prompt_tokens":null,"a":5}"#,
            r#"{"prompt_tokens":-5}"#,
            r#"{"prompt_tokens":99999999999999999999}"#,
            r#"{"prompt_tokens":5"#,
        ] {
            assert_eq!(count(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn where_an_answer_is_cut_makes_no_difference(cut in any::<prop::sample::Index>(), which in 0usize..4) {
            let text = [OPENAI, STREAM, ANTHROPIC, OLLAMA][which];
            let (one, two) = text.as_bytes().split_at(cut.index(text.len()));
            let mut tokens = Tokens::default();
            tokens.feed(one);
            tokens.feed(two);
            prop_assert_eq!(tokens.counted(), count(text));
        }

        #[test]
        fn no_text_can_pretend(text in prop_oneof!["\\PC{0,60}", "[\"\\\\:a prompt_tokens5]{0,40}"]) {
            let body = serde_json::json!({ "content": text, "list": [text] }).to_string();
            prop_assert_eq!(count(&body), None, "{}", body);
        }
    }
}
