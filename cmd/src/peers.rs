//! `p2p-fed peers`: who is connected.

use p2p_fed::api::{Client, Peer, Peers, client::Error};

use crate::{
    ask::Answer,
    table::{Table, milliseconds, or_dash},
};

impl Answer for Peers {
    async fn of(client: &Client) -> Result<Self, Error> {
        client.peers().await
    }

    fn show(&self) -> String {
        if self.peers.is_empty() {
            return "no peers: this node is alone in its network\n".to_owned();
        }
        table(&self.peers).to_string()
    }

    fn is_news(&self, before: &Self) -> bool {
        self != before
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
