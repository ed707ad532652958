//! Tokens, as users paste them.

use base64::{Engine, engine::general_purpose::STANDARD};
use p2p_fed::token::Token;

/// The text of a token.
pub(crate) fn text(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let Ok(token) = Token::parse(text) else { return };
    let again = Token::parse(&token.to_text()).expect("what is written can be read");
    assert!(again == token, "a token says the same after it was written");
}

/// What the text encodes.
pub(crate) fn yaml(bytes: &[u8]) {
    text(STANDARD.encode(bytes).as_bytes());
}
