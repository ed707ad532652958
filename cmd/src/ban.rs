//! `p2p-fed ban`: locks one machine out.

use clap::Args;
use p2p_fed::{
    api::{Issued, Member},
    ledger::{NodeId, Serial},
    telemetry,
};
use serde::Serialize;

use crate::{cli::LogFlags, decree::NodeChoice, exit::Failure, issuer::IssuerFlags, output::OutputFlags};

/// Lock one machine out, in a network with an issuer.
///
/// Every node closes its connections to it and takes no more from it, within seconds. Without --invite, whoever has its token
/// can come back as another node, unless it was made with --once.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  p2p-fed ban gpu1\n  p2p-fed ban gpu1 --invite     # and everybody else who came with its invitation"
)]
pub(crate) struct Ban {
    /// The machine's node, by its name or its id as `p2p-fed peers` shows them
    #[arg(value_name = "NODE")]
    target: String,

    /// Revoke the invitation that it came with, too: then no other node can use its token either
    #[arg(long)]
    invite: bool,

    #[command(flatten)]
    issuer: IssuerFlags,

    #[command(flatten)]
    node: NodeChoice,

    #[command(flatten)]
    output: OutputFlags,
}

/// What was decided.
#[derive(Debug, Serialize)]
struct Banned<'a> {
    node: &'a str,
    name: Option<&'a str>,
    invitation: Option<&'a str>,
    decree: u64,
}

impl Ban {
    pub(crate) async fn perform(self, log: &LogFlags) -> Result<(), Failure> {
        telemetry::init(&log.settings().resolve())?;
        let asked = self.node.ask().await?;
        let Some(issuer) = asked.issued.issuer() else {
            return Err(Failure::usage(format_args!(
                "network {} has no issuer, so nobody can be locked out of it: mint another token, with --admin, and hand it to the others",
                asked.issued.network
            )));
        };
        let file = self.issuer.open(&asked.issued.network, &issuer)?;
        let (node, member) = find(&self.target, &asked.issued)?;
        let member = member.cloned();
        let invitation = member.as_ref().and_then(|member| member.invitation.clone()).filter(|_| self.invite);
        let serial = invitation.as_deref().and_then(|serial| serial.parse::<Serial>().ok());
        if self.invite && serial.is_none() {
            return Err(Failure::usage(format_args!(
                "the invitation of {} is not known here: ban it without --invite",
                self.target
            )));
        }

        let mut draft = asked.draft(file)?;
        let is_new =
            draft.decree.banned.insert(node) | serial.is_some_and(|serial| draft.decree.revoked.insert(serial));
        let decree = if is_new { draft.enact().await? } else { draft.decree.number - 1 };
        let name = member.as_ref().map(|member| member.name.as_str());
        let banned = Banned { node: &node.to_string(), name, invitation: invitation.as_deref(), decree };
        self.output.output.show(&banned, || for_people(&banned))
    }
}

fn for_people(banned: &Banned<'_>) -> String {
    let name = banned.name.map_or_else(String::new, |name| format!("{name} "));
    let invitation = banned.invitation.map_or_else(String::new, |serial| format!(" and its invitation {serial}"));
    format!("banned {name}{}{invitation}, decree {}\n", banned.node, banned.decree)
}

/// Which node is meant: any by its id, one of the ledger's by its name.
fn find<'a>(target: &str, issued: &'a Issued) -> Result<(NodeId, Option<&'a Member>), Failure> {
    let is_meant = |member: &&Member| member.node == target || member.name == target;
    let meant: Vec<_> = issued.members.iter().filter(is_meant).collect();
    let id = |text: &str| text.parse::<NodeId>().ok();
    let found = match *meant {
        [member] => id(&member.node).map(|node| (node, Some(member))),
        [] => id(target).map(|node| (node, None)),
        _ => {
            let ids: Vec<_> = meant.iter().map(|member| member.node.as_str()).collect();
            return Err(Failure::usage(format_args!(
                "several nodes go by {target}: name one by its id: {}",
                ids.join(", ")
            )));
        }
    };
    let (node, member) = found.ok_or_else(|| {
        Failure::usage(format_args!(
            "no node {target} is known here: `p2p-fed ledger` lists names and ids, and any node can be named by its id"
        ))
    })?;
    if id(&issued.node) == Some(node) {
        return Err(Failure::usage(format_args!(
            "{target} is the node that would hand this on, and would lock itself out: choose another one with --node"
        )));
    }
    Ok((node, member))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "12D3KooWK99VoVxNE7XzyBwXEzW7xhK7Gpv85r9F3V3fyKSUKPH5";
    const OTHER: &str = "12D3KooWJWoaqZhDaoEFshF7Rh1bpY9ohihFhzcW6d69Lr2NASuq";
    const THIRD: &str = "12D3KooWRndVhVZPCiQwHBBBdg769GyrPUW13zxwqQyf9r3ANaba";

    fn issued(members: &[(&str, &str)]) -> Issued {
        let member = |(node, name): &(&str, &str)| Member {
            node: (*node).to_owned(),
            name: (*name).to_owned(),
            invitation: None,
        };
        Issued {
            network: "k7qd-93ma".into(),
            network_id: "01".repeat(16),
            issuer: Some("09".repeat(32)),
            node: HERE.into(),
            decree: None,
            members: members.iter().map(member).collect(),
        }
    }

    /// The id, and the member's name where it is one; or the complaint.
    fn found(target: &str, issued: &Issued) -> Result<(String, Option<String>), String> {
        match find(target, issued) {
            Ok((node, member)) => Ok((node.to_string(), member.map(|member| member.name.clone()))),
            Err(Failure::Usage(line)) => Err(line),
            Err(other) => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_node_is_found_by_name_and_by_id() {
        let known = issued(&[(HERE, "laptop"), (OTHER, "gpu1")]);
        let gpu1 = Ok((OTHER.to_owned(), Some("gpu1".to_owned())));
        assert_eq!(found("gpu1", &known), gpu1);
        assert_eq!(found(OTHER, &known), gpu1);
        assert_eq!(found(OTHER, &issued(&[])), Ok((OTHER.to_owned(), None)), "one that is gone");
    }

    #[test]
    fn who_cannot_be_meant_is_told() {
        let known = issued(&[(HERE, "laptop"), (OTHER, "gpu1"), (THIRD, "gpu1")]);
        let complaint = |target| found(target, &known).unwrap_err();
        assert_eq!(complaint("gpu1"), format!("several nodes go by gpu1: name one by its id: {OTHER}, {THIRD}"));
        assert!(complaint("gpu2").starts_with("no node gpu2 is known here: `p2p-fed ledger` lists"));
        for here in ["laptop", HERE] {
            assert!(complaint(here).contains("would lock itself out"));
        }
    }
}
