//! What was found out, and how it is shown.

use std::fmt;

use serde::Serialize;

use crate::table::{Table, clean};

/// How something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    /// As it should be.
    Ok,
    /// It works, but somebody may be missed.
    Warn,
    /// It keeps nodes apart.
    Fail,
    /// Nothing has shown yet.
    Unknown,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "FAIL",
            Self::Unknown => "unknown",
        })
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) state: State,
    /// In one sentence.
    pub(super) what: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) advice: Option<String>,
}

impl Finding {
    pub(super) fn ok(check: &'static str, what: impl Into<String>) -> Self {
        Self { check, state: State::Ok, what: what.into(), advice: None }
    }

    pub(super) fn unknown(check: &'static str, what: impl Into<String>) -> Self {
        Self { state: State::Unknown, ..Self::ok(check, what) }
    }

    pub(super) fn warn(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Warn, advice: Some(advice.into()), ..Self::ok(check, what) }
    }

    pub(super) fn fail(check: &'static str, what: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { state: State::Fail, ..Self::warn(check, what, advice) }
    }
}

/// A page for people: all findings, and then what to do, the worst first.
pub(super) fn page(findings: &[Finding]) -> String {
    let mut table = Table::new(["CHECK", "STATE", "FINDING"]);
    for finding in findings {
        table.row([finding.check.to_owned(), finding.state.to_string(), finding.what.clone()]);
    }
    let advice = [State::Fail, State::Warn].into_iter().flat_map(|state| {
        let such = findings.iter().filter(move |finding| finding.state == state);
        such.filter_map(|finding| Some(format!("* {}: {}\n", finding.check, clean(finding.advice.as_ref()?))))
    });
    let advice: String = advice.collect();
    if advice.is_empty() { table.to_string() } else { format!("{table}\nwhat to do\n{advice}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_is_advised_first() {
        let findings = [
            Finding::ok("clock", "as that of 2 peers"),
            Finding::warn("nat", "it is sym\u{1b}metric", "forward a port"),
            Finding::fail("token", "it has expired", "ask for another one"),
            Finding::unknown("dht", "off"),
        ];
        let expected = "CHECK  STATE    FINDING\n\
                        clock  ok       as that of 2 peers\n\
                        nat    warn     it is sym?metric\n\
                        token  FAIL     it has expired\n\
                        dht    unknown  off\n\
                        \n\
                        what to do\n\
                        * token: ask for another one\n\
                        * nat: forward a port\n";
        assert_eq!(page(&findings), expected);
        let json = serde_json::to_string(&findings[3]).unwrap();
        assert_eq!(json, r#"{"check":"dht","state":"unknown","what":"off"}"#);
    }
}
