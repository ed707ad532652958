//! `p2p-fed ledger`: the records that the node holds.

use p2p_fed::api::{Client, Ledger, Record, client::Error};

use crate::{ask::Answer, table::Table};

impl Answer for Ledger {
    async fn of(client: &Client) -> Result<Self, Error> {
        client.ledger().await
    }

    fn show(&self) -> String {
        let mut table = Table::new(["NAME", "SEQ", "STATE", "SERVICES", "NODE"]);
        for record in &self.records {
            let services = if record.services.is_empty() { "-".to_owned() } else { record.services.join(" ") };
            table.row([
                record.name.clone(),
                record.seq.to_string(),
                state(record).to_owned(),
                services,
                record.node.clone(),
            ]);
        }
        format!("revision {}\n{table}", self.revision)
    }

    fn is_news(&self, before: &Self) -> bool {
        self != before
    }
}

fn state(record: &Record) -> &'static str {
    if record.quarantined {
        "quarantined"
    } else if !record.fresh {
        "stale"
    } else if record.leaving {
        "leaving"
    } else if record.draining {
        "draining"
    } else {
        "fresh"
    }
}
