//! What people call a node.

use std::{fmt, str::FromStr};

/// Characters of a node's name, as records have it.
const MAX_LENGTH: usize = 63;

/// The name of a host that has none of its own.
const NAMELESS: &str = "node";

/// A node's name for people: 1 to 63 of `[a-z0-9-.]`, the first a letter or digit, so that it is neither a flag nor a path.
/// Unique on one host, not in a network.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(String);

/// The text is no name for a node.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a node name: use 1 to 63 of a-z, 0-9, `-` and `.`, a letter or digit first")]
pub struct ParseNodeNameError(String);

impl NodeName {
    /// This machine's host name, made fit.
    pub fn of_host() -> Self {
        Self::clean(&rustix::system::uname().nodename().to_string_lossy())
    }

    /// The nearest name to this text: lower case, what does not fit turned into `-`, the ends trimmed, at most 63.
    pub fn clean(text: &str) -> Self {
        let fit = |c: char| if is_allowed(c) { c } else { '-' };
        let name: String = text.chars().map(|c| fit(c.to_ascii_lowercase())).collect();
        let is_edge = |c| matches!(c, '-' | '.');
        let name: String = name.trim_start_matches(is_edge).chars().take(MAX_LENGTH).collect();
        match name.trim_end_matches(is_edge) {
            "" => Self(NAMELESS.to_owned()),
            name => Self(name.to_owned()),
        }
    }

    /// The name with a number behind it, cut so that it still is a name.
    pub(super) fn numbered(&self, number: u32) -> Self {
        let tail = format!("-{number}");
        let head = self.0.get(..MAX_LENGTH.saturating_sub(tail.len())).unwrap_or(&self.0);
        Self(format!("{head}{tail}"))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for NodeName {
    type Err = ParseNodeNameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_name = text.len() <= MAX_LENGTH
            && text.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
            && text.chars().all(is_allowed);
        if is_name {
            Ok(Self(text.to_owned()))
        } else {
            Err(ParseNodeNameError(text.chars().take(MAX_LENGTH + 1).collect()))
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_allowed(c: char) -> bool {
    matches!(c, 'a'..='z' | '0'..='9' | '-' | '.')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn takes_names_and_nothing_else() {
        for name in ["a", "gpu1", "gpu1.lan", "7", "a--b", "x.", &"n".repeat(63)] {
            assert_eq!(name.parse::<NodeName>().unwrap().as_str(), name);
        }
        for text in
            ["", ".", "..", ".ssh", "-v", "../x", "a/b", "GPU1", "a b", "a_b", "ü", "a\n", "a\0", &"n".repeat(64)]
        {
            assert!(text.parse::<NodeName>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_refusal_quotes_no_more_than_it_must() {
        let error = "\u{1b}[31m".repeat(1000).parse::<NodeName>().unwrap_err().to_string();
        assert!(error.len() < 1000 && !error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn cleans_host_names() {
        let cleaned = [
            ("GPU1", "gpu1"),
            ("My_Mac.local", "my-mac.local"),
            ("--x..", "x"),
            ("", "node"),
            ("...", "node"),
            ("größe", "gr--e"),
        ];
        for (host, name) in cleaned {
            assert_eq!(NodeName::clean(host).as_str(), name);
        }
        assert_eq!(NodeName::clean(&"h".repeat(100)).as_str().len(), 63);
        assert!(!NodeName::of_host().as_str().is_empty());
    }

    #[test]
    fn numbers_fit() {
        assert_eq!(NodeName::clean("gpu").numbered(2).as_str(), "gpu-2");
        assert_eq!(NodeName::clean(&"h".repeat(63)).numbered(12).as_str(), format!("{}-12", "h".repeat(60)));
    }

    proptest! {
        #[test]
        fn what_is_cleaned_or_numbered_is_a_name(text in "\\PC{0,100}", number: u32) {
            let name = NodeName::clean(&text);
            prop_assert_eq!(&name.as_str().parse::<NodeName>(), &Ok(name.clone()));
            let numbered = name.numbered(number);
            prop_assert_eq!(&numbered.as_str().parse::<NodeName>(), &Ok(numbered.clone()));
        }
    }
}
