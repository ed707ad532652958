//! To whom a front may be limited.

use std::{fmt, str::FromStr};

use crate::ledger::{NodeId, Record};

/// The only worker that a front may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pin {
    /// This node.
    Node(NodeId),
    /// The nodes of this name; names are not unique.
    Name(String),
}

/// The text is neither a node id nor a node name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is neither a node id (12D3KooW…) nor a node name (1 to 63 of a-z 0-9 - .)")]
pub struct ParsePinError(String);

impl Pin {
    /// Whether the pin allows the node that wrote `record`.
    pub fn allows(&self, record: &Record) -> bool {
        match self {
            Self::Node(node) => *node == record.owner,
            Self::Name(name) => *name == record.statement.name,
        }
    }
}

impl FromStr for Pin {
    type Err = ParsePinError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(node) = text.parse() {
            return Ok(Self::Node(node));
        }
        let is_name = (1..=63).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.'));
        if is_name { Ok(Self::Name(text.to_owned())) } else { Err(ParsePinError(text.chars().take(64).collect())) }
    }
}

impl fmt::Display for Pin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Node(node) => f.write_str(&node.short()),
            Self::Name(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_a_node_id_or_a_name() {
        let node = NodeId::from_bytes([7; 32]);
        assert_eq!(node.to_string().parse(), Ok(Pin::Node(node)));
        assert_eq!("gpu1.lab".parse(), Ok(Pin::Name("gpu1.lab".into())));
        for text in ["", "GPU", "a b", &"x".repeat(64)] {
            assert!(text.parse::<Pin>().is_err(), "{text:?}");
        }
    }
}
