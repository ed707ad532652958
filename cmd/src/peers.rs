//! `p2p-fed peers`: who is connected, and who is refused.

use std::collections::BTreeMap;

use p2p_fed::api::{Barred, Peer, Peers};

use crate::{
    ask::Answer,
    table::{Table, milliseconds, or_dash, section, span},
};

impl Answer for Peers {
    fn show(&self) -> String {
        let connected = match self.peers.is_empty() {
            true => "no peers: this node is alone in its network\n".to_owned(),
            false => table(&self.peers).to_string(),
        };
        let offenders: Vec<_> = self.peers.iter().filter(|peer| !peer.offences.is_empty()).collect();
        let parts = [
            connected,
            section("offences", offenders.is_empty(), || offences(&offenders)),
            section("refused", self.barred.is_empty(), || barred(&self.barred)),
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn is_news(&self, before: &Self) -> bool {
        // Time passes; that is no news.
        let timeless = |peers: &Self| {
            let mut barred = peers.barred.clone();
            barred.iter_mut().for_each(|barred| barred.remaining_s = None);
            barred
        };
        self.peers != before.peers || timeless(self) != timeless(before)
    }
}

pub(crate) fn table(peers: &[Peer]) -> Table {
    let mut table = Table::new(["NAME", "PATH", "TRANSPORT", "CARRIER", "RTT", "ADDRESS", "NODE"]);
    for peer in peers {
        table.row([
            or_dash(peer.name.as_ref()),
            if peer.responsive { peer.path.clone() } else { "silent".to_owned() },
            peer.transport.clone(),
            peer.carrier.clone(),
            or_dash(peer.rtt_ms.map(milliseconds)),
            peer.address.clone(),
            peer.id.clone(),
        ]);
    }
    table
}

fn offences(peers: &[&Peer]) -> Table {
    let mut table = Table::new(["NAME", "OFFENCES", "NODE"]);
    for peer in peers {
        table.row([or_dash(peer.name.as_ref()), counted(&peer.offences), peer.id.clone()]);
    }
    table
}

fn barred(barred: &[Barred]) -> Table {
    let mut table = Table::new(["NAME", "REASON", "FOR", "EXPELLED", "OFFENCES", "NODE"]);
    for barred in barred {
        table.row([
            or_dash(barred.name.as_ref()),
            barred.reason.clone(),
            or_dash(barred.remaining_s.map(span)),
            barred.expulsions.to_string(),
            counted(&barred.offences),
            barred.id.clone(),
        ]);
    }
    table
}

fn counted(offences: &BTreeMap<String, u64>) -> String {
    match offences.is_empty() {
        true => "-".to_owned(),
        false => offences.iter().map(|(offence, count)| format!("{count} {offence}")).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers() -> Peers {
        let barred = Barred {
            id: "12D3KooWA".into(),
            name: Some("gpu1".into()),
            reason: "forged".into(),
            remaining_s: Some(552),
            offences: [("flood".to_owned(), 1), ("forged".to_owned(), 5)].into(),
            expulsions: 1,
        };
        let banned = Barred {
            id: "12D3KooWB".into(),
            name: None,
            reason: "banned".into(),
            remaining_s: None,
            offences: BTreeMap::new(),
            expulsions: 0,
        };
        Peers { peers: vec![], barred: vec![barred, banned] }
    }

    #[test]
    fn the_refused_are_shown_with_their_reason_and_their_time() {
        let page = "no peers: this node is alone in its network\n\
                    \n\
                    refused\n\
                    NAME  REASON  FOR    EXPELLED  OFFENCES           NODE\n\
                    gpu1  forged  9m12s  1         1 flood, 5 forged  12D3KooWA\n\
                    -     banned  -      0         -                  12D3KooWB\n";
        assert_eq!(peers().show(), page);
    }

    #[test]
    fn that_time_passes_is_no_news() {
        let (before, mut now) = (peers(), peers());
        now.barred[0].remaining_s = Some(551);
        assert!(!now.is_news(&before));
        now.barred.pop();
        assert!(now.is_news(&before));
    }
}
