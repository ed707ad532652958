//! What a node is told of the edgevpn side of its network.

use std::{fmt, str::FromStr};

/// Longest id of a LocalAI network. LocalAI sets no bound; the id is repeated in each message of the ledger.
const MAX_ID: usize = 64;

/// How a node takes part in edgevpn's ledger. Of no effect in a strict network.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Which of the LocalAI networks that share the token.
    pub localai: LocalAi,
}

/// The id of a LocalAI network (`LOCALAI_P2P_NETWORK_ID`): a prefix of the names of its services, which keeps several
/// clusters on one token apart, and nothing secret. Empty: the network without one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalAi(String);

impl LocalAi {
    /// The ledger's bucket for one of LocalAI's services (`core/p2p`: id, underscore, service).
    pub fn bucket(&self, service: &str) -> String {
        match self.0.as_str() {
            "" => service.to_owned(),
            id => format!("{id}_{service}"),
        }
    }

    /// The id; empty where there is none.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// No id of a LocalAI network.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no id of a LocalAI network: at most {MAX_ID} characters, no blanks and no control characters")]
pub struct ParseLocalAiError(String);

impl FromStr for LocalAi {
    type Err = ParseLocalAiError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.len() > MAX_ID || text.chars().any(|c| c.is_whitespace() || c.is_control()) {
            true => Err(ParseLocalAiError(text.chars().take(MAX_ID + 1).collect())),
            false => Ok(Self(text.to_owned())),
        }
    }
}

impl fmt::Display for LocalAi {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_prefix_of_the_bucket() {
        assert_eq!(LocalAi::default().bucket("federated"), "federated");
        assert_eq!("lab".parse::<LocalAi>().unwrap().bucket("worker"), "lab_worker");
        assert!("two words".parse::<LocalAi>().is_err());
        assert!("x".repeat(65).parse::<LocalAi>().is_err());
    }

    #[test]
    fn a_refusal_quotes_no_more_than_it_must() {
        let error = "\u{1b}[31m".repeat(1000).parse::<LocalAi>().unwrap_err().to_string();
        assert!(error.len() < 1000 && !error.contains('\u{1b}'), "{error}");
    }
}
