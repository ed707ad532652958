//! Patterns over names of services.

use std::{fmt, str::FromStr};

use crate::NAME_MAX;

/// Which services: `*` stands for any characters, also none, `?` for exactly one, everything else for itself.
///
/// 1 to 63 of `[a-z0-9-.*?]`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceGlob(String);

/// The text is no pattern over names of services.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not 1 to 63 of a-z, 0-9, - and ., with * for any characters and ? for one")]
pub struct ParseGlobError(String);

impl ServiceGlob {
    /// Every service.
    pub fn any() -> Self {
        Self("*".to_owned())
    }

    /// The pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it stands for `name`, all of it.
    ///
    /// Where a later part does not fit, only the last `*` is tried with one character more: what the earlier ones stand for
    /// was the least they could. So a pattern costs at most its length times that of the name.
    pub fn matches(&self, name: &str) -> bool {
        let (pattern, name) = (self.0.as_bytes(), name.as_bytes());
        let (mut at, mut read) = (0, 0);
        let mut star = None;
        while let Some(byte) = name.get(read) {
            match pattern.get(at) {
                Some(b'*') => {
                    star = Some((at, read));
                    at += 1;
                }
                Some(expected) if *expected == b'?' || expected == byte => (at, read) = (at + 1, read + 1),
                _ => {
                    let Some((star_at, taken)) = star else { return false };
                    star = Some((star_at, taken + 1));
                    (at, read) = (star_at + 1, taken + 1);
                }
            }
        }
        pattern.iter().skip(at).all(|byte| *byte == b'*')
    }
}

impl FromStr for ServiceGlob {
    type Err = ParseGlobError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=NAME_MAX).contains(&text.len())
            && text.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'*' | b'?'));
        if fits { Ok(Self(text.to_owned())) } else { Err(ParseGlobError(text.chars().take(NAME_MAX + 1).collect())) }
    }
}

impl fmt::Display for ServiceGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ServiceGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn glob(text: &str) -> ServiceGlob {
        text.parse().unwrap()
    }

    #[test]
    fn stars_and_question_marks_stand_for_characters() {
        for (pattern, name) in [
            ("*", "llm"),
            ("*", ""),
            ("llm", "llm"),
            ("llm-*", "llm-"),
            ("llm-*", "llm-7b"),
            ("*-7b", "llm-7b"),
            ("l*b", "llm-7b"),
            ("l?m", "llm"),
            ("***", "a"),
            ("*a*b*", "xaxbx"),
            ("a*", "a"),
            ("?*", "a"),
            ("*.gpu.*", "a.gpu.gpu.b"),
        ] {
            assert!(glob(pattern).matches(name), "{pattern} {name}");
        }
        for (pattern, name) in [
            ("llm", "llm2"),
            ("llm2", "llm"),
            ("llm-*", "llm"),
            ("?", ""),
            ("?", "ab"),
            ("*a", "ab"),
            ("a*b", "a"),
            ("*ab*ab", "ab"),
            ("llm.7b", "llm-7b"),
        ] {
            assert!(!glob(pattern).matches(name), "{pattern} {name}");
        }
    }

    #[test]
    fn what_no_name_can_have_is_no_pattern() {
        for text in ["", "A", "a b", "[a]", "ä", "a/b", "a\n", &"a".repeat(64)] {
            assert!(text.parse::<ServiceGlob>().is_err(), "{text:?}");
        }
        assert!("*".repeat(63).parse::<ServiceGlob>().is_ok());
        assert_eq!(glob("llm-?.*").to_string(), "llm-?.*");
    }

    #[test]
    fn many_stars_cost_no_more_than_one() {
        // Tried in every way, this would take longer than the sun will shine.
        let pattern = glob(&format!("{}b", "a*".repeat(31)));
        assert!(!pattern.matches(&"a".repeat(10_000)));
    }

    /// What a pattern means, as it is said.
    fn by_definition(pattern: &[u8], name: &[u8]) -> bool {
        match (pattern, name) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=name.len()).any(|taken| by_definition(rest, &name[taken..])),
            ([b'?', rest @ ..], [_, tail @ ..]) => by_definition(rest, tail),
            ([byte, rest @ ..], [first, tail @ ..]) => byte == first && by_definition(rest, tail),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn matches_what_it_means(pattern in "[ab*?]{1,8}", name in "[ab]{0,8}") {
            prop_assert_eq!(glob(&pattern).matches(&name), by_definition(pattern.as_bytes(), name.as_bytes()));
        }
    }
}
