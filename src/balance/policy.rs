//! How a front picks, and to whom it may be limited.

use std::{fmt, str::FromStr};

use crate::ledger::{NodeId, Record};

/// How a front picks among the endpoints that are available.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Policy {
    /// Fewest in flight, then fewest requests since the endpoint became ready, then at random; both counts relative to
    /// the weight that the worker asks for.
    #[default]
    LeastUsed,
    /// At random, in proportion to the weights.
    Random,
}

/// Policies that people know from elsewhere and that this version does not have.
const NOT_YET: [&str; 5] = ["round-robin", "p2c", "peak-ewma", "prequal", "sticky"];

/// The text names no policy that this version has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParsePolicyError {
    /// A policy that is meant to come.
    #[error("policy {0} is not in this version; choose least-used or random")]
    NotInThisVersion(&'static str),
    /// No policy of that name is known.
    #[error("{0:?} is not a policy; choose least-used or random")]
    Unknown(String),
}

impl FromStr for Policy {
    type Err = ParsePolicyError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "least-used" => Ok(Self::LeastUsed),
            "random" => Ok(Self::Random),
            _ => Err(match NOT_YET.into_iter().find(|name| *name == text) {
                Some(name) => ParsePolicyError::NotInThisVersion(name),
                None => ParsePolicyError::Unknown(text.chars().take(64).collect()),
            }),
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LeastUsed => "least-used",
            Self::Random => "random",
        })
    }
}

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
    fn policies_print_as_they_parse() {
        for policy in [Policy::LeastUsed, Policy::Random] {
            assert_eq!(policy.to_string().parse(), Ok(policy));
        }
    }

    #[test]
    fn policies_of_other_proxies_are_refused_by_name() {
        for name in NOT_YET {
            let error = name.parse::<Policy>().unwrap_err();
            assert_eq!(error, ParsePolicyError::NotInThisVersion(name));
            assert!(error.to_string().contains("is not in this version"), "{error}");
        }
        assert_eq!("Least-Used".parse::<Policy>(), Err(ParsePolicyError::Unknown("Least-Used".into())));
    }

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
