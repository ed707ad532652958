//! `p2p-fed ledger`: who says what of itself, and what it costs to know.

use p2p_fed::api::{Ledger, Record, Traffic, Volume};

use crate::{
    ask::Answer,
    table::{Table, bytes, or_dash, section},
};

impl Answer for Ledger {
    fn show(&self) -> String {
        let quarantined: Vec<_> = self.records.iter().filter(|record| record.quarantined).collect();
        let parts = [
            format!("revision {}\n{}", self.revision, records(&self.records)),
            section("quarantined", quarantined.is_empty(), || reasons(&quarantined)),
            section("invitations", self.records.iter().all(|record| record.invitation.is_none()), || {
                invitations(&self.records)
            }),
            section("refused", self.refusals.iter().all(|refusal| refusal.count == 0), || refusals(self)),
            section("traffic", false, || traffic(&self.traffic)),
            section("counters", self.counters.values().all(|count| *count == 0), || counters(self)),
        ];
        parts.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("\n")
    }

    fn is_news(&self, before: &Self) -> bool {
        // Something is always sent; that is no news.
        (self.revision, &self.records, &self.refusals) != (before.revision, &before.records, &before.refusals)
    }
}

fn records(records: &[Record]) -> Table {
    let mut table = Table::new(["NAME", "SEQ", "STATE", "SERVICES", "NODE"]);
    for record in records {
        let services = if record.services.is_empty() { "-".to_owned() } else { record.services.join(" ") };
        let name = record.name.clone();
        table.row([name, record.seq.to_string(), state(record).to_owned(), services, record.node.clone()]);
    }
    table
}

fn state(record: &Record) -> &'static str {
    if record.quarantined {
        "quarantined"
    } else if record.legacy {
        if record.fresh { "legacy" } else { "legacy, stale" }
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

fn reasons(quarantined: &[&Record]) -> Table {
    let mut table = Table::new(["NAME", "WHY", "NODE"]);
    for record in quarantined {
        table.row([record.name.clone(), or_dash(record.quarantined_because.as_ref()), record.node.clone()]);
    }
    table
}

fn invitations(records: &[Record]) -> Table {
    let mut table = Table::new(["NAME", "MAY", "FOR", "SERIAL"]);
    for (record, invited) in records.iter().filter_map(|record| Some((record, record.invitation.as_ref()?))) {
        let machines = match (invited.once, invited.used_twice) {
            (_, true) => "one machine, USED TWICE",
            (true, false) => "one machine",
            (false, false) => "any machine",
        };
        table.row([record.name.clone(), invited.may.clone(), machines.to_owned(), invited.serial.clone()]);
    }
    table
}

fn refusals(ledger: &Ledger) -> Table {
    let mut table = Table::new(["COUNT", "REASON"]);
    for refusal in ledger.refusals.iter().filter(|refusal| refusal.count > 0) {
        table.row([refusal.count.to_string(), format!("{}: {}", refusal.reason, refusal.meaning)]);
    }
    table
}

fn traffic(traffic: &Traffic) -> Table {
    let volumes = [
        ("gossip published", traffic.gossip_published),
        ("gossip passed on", traffic.gossip_passed_on),
        ("gossip received", traffic.gossip_received),
        ("sync sent", traffic.sync_sent),
        ("sync received", traffic.sync_received),
    ];
    let mut table = Table::new(["WHAT", "MESSAGES", "BYTES"]);
    for (what, volume) in volumes {
        let Volume { messages, bytes: size } = volume;
        table.row([what.to_owned(), messages.to_string(), bytes(size)]);
    }
    table.row(["gossip dropped".to_owned(), traffic.gossip_dropped.to_string(), "-".to_owned()]);
    let flows = [
        ("TCP sent", traffic.tcp_sent_bytes),
        ("TCP received", traffic.tcp_received_bytes),
        ("QUIC sent", traffic.quic_sent_bytes),
        ("QUIC received", traffic.quic_received_bytes),
    ];
    for (what, size) in flows {
        table.row([what.to_owned(), "-".to_owned(), bytes(size)]);
    }
    table
}

fn counters(ledger: &Ledger) -> Table {
    let mut table = Table::new(["COUNT", "WHAT"]);
    for (name, count) in ledger.counters.iter().filter(|(_, count)| **count > 0) {
        table.row([count.to_string(), name.replace('_', " ")]);
    }
    table
}

#[cfg(test)]
mod tests {
    use p2p_fed::api::{Invited, Refusal};

    use super::*;

    fn ledger() -> Ledger {
        let record = Record {
            legacy: false,
            node: "12D3KooWA".into(),
            name: "gpu1".into(),
            seq: 7,
            fresh: true,
            draining: false,
            leaving: false,
            quarantined: true,
            quarantined_because: Some("its key is used twice".into()),
            addresses: vec![],
            services: vec!["llm".into()],
            invitation: Some(Invited {
                serial: "75b9".into(),
                may: "serve".into(),
                expires_unix_s: 0,
                once: true,
                used_twice: true,
            }),
        };
        let refusal = |reason: &str, count| Refusal { reason: reason.into(), meaning: "too much".into(), count };
        Ledger {
            revision: 3,
            records: vec![record],
            traffic: Traffic {
                gossip_published: Volume { messages: 5, bytes: 2048 },
                gossip_dropped: 2,
                tcp_sent_bytes: 1 << 20,
                ..Traffic::default()
            },
            refusals: vec![refusal("pace", 0), refusal("rate", 9)],
            counters: [("echoes".to_owned(), 0), ("gossip_accepted".to_owned(), 4)].into(),
        }
    }

    #[test]
    fn a_page_for_people() {
        let page = "revision 3\n\
                    NAME  SEQ  STATE        SERVICES  NODE\n\
                    gpu1  7    quarantined  llm       12D3KooWA\n\
                    \n\
                    quarantined\n\
                    NAME  WHY                    NODE\n\
                    gpu1  its key is used twice  12D3KooWA\n\
                    \n\
                    invitations\n\
                    NAME  MAY    FOR                      SERIAL\n\
                    gpu1  serve  one machine, USED TWICE  75b9\n\
                    \n\
                    refused\n\
                    COUNT  REASON\n\
                    9      rate: too much\n\
                    \n\
                    traffic\n\
                    WHAT              MESSAGES  BYTES\n\
                    gossip published  5         2.0KiB\n\
                    gossip passed on  0         0B\n\
                    gossip received   0         0B\n\
                    sync sent         0         0B\n\
                    sync received     0         0B\n\
                    gossip dropped    2         -\n\
                    TCP sent          -         1.0MiB\n\
                    TCP received      -         0B\n\
                    QUIC sent         -         0B\n\
                    QUIC received     -         0B\n\
                    \n\
                    counters\n\
                    COUNT  WHAT\n\
                    4      gossip accepted\n";
        assert_eq!(ledger().show(), page);
    }

    #[test]
    fn that_something_is_sent_is_no_news_and_that_something_is_refused_is() {
        let (before, mut now) = (ledger(), ledger());
        now.traffic.gossip_dropped += 1;
        assert!(!now.is_news(&before));
        now.refusals[0].count += 1;
        assert!(now.is_news(&before));
    }
}
