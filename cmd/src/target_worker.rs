//! A worker by the id that LocalAI gave it.

use std::str::FromStr;

use p2p_fed::{
    balance::{ParsePinError, Pin},
    identity::NodeName,
};

/// The only worker to use, as LocalAI names it or as p2p-fed does.
///
/// LocalAI's id of a node is its host's name, `-`, and ten letters of either case (`core/p2p`). Names of nodes are of lower
/// case here, so the nearest one is meant: two nodes whose ids differ in case alone are one to a pin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TargetWorker(pub(crate) Pin);

impl FromStr for TargetWorker {
    type Err = ParsePinError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_localai = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
        text.parse().map(Self).or_else(|error| match !text.is_empty() && text.chars().all(is_localai) {
            true => Ok(Self(Pin::Name(NodeName::clean(text).as_str().to_owned()))),
            false => Err(error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_target_worker_is_a_pin_or_an_id_of_localai() {
        let pin = |text: &str| text.parse::<TargetWorker>().map(|worker| worker.0);
        assert_eq!(pin("gpu1"), Ok(Pin::Name("gpu1".to_owned())));
        assert_eq!(pin("My_Host-abcDEFghij"), Ok(Pin::Name("my-host-abcdefghij".to_owned())));
        let id = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN";
        assert!(matches!(pin(id), Ok(Pin::Node(_))), "an id of ours has capitals as well");
        for text in ["", "No Name", "a/b", "größe"] {
            assert!(pin(text).is_err(), "{text:?}");
        }
    }
}
