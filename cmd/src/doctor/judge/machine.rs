//! This machine: token, clock, files, listeners, packet sizes.

use p2p_fed::{
    api::{Checkup, Files, TokenFacts},
    net::facts::Facts,
};

use super::{Found, count, some};
use crate::{doctor::finding::Finding, table::span};

/// 2025-01-01T00:00:00Z, in milliseconds. This program is younger.
const BEFORE: u64 = 1_735_689_600_000;

/// Seconds of difference worth telling: what a node warns of as well.
const CLOCKS_DIFFER: f64 = 10.0;

/// Bytes of a packet that IPv6 needs, and QUIC with what carries it.
const MTU_LEAST: u32 = 1280;

/// Bytes of a packet where nothing is wrapped around it.
const MTU_USUAL: u32 = 1500;

const SET_CLOCK: &str = "set the clock by NTP, for one with `timedatectl set-ntp true`";

/// The token of a node, or of none. `found` is the one that a command here would use.
pub(in crate::doctor) fn token(token: &TokenFacts, found: Option<&Found>) -> Finding {
    const CHECK: &str = "token";
    if let Some(obstacle) = &token.obstacle {
        return Finding::fail(
            CHECK,
            obstacle.as_str(),
            "ask the keeper of the issuer's key for another one: `p2p-fed token invite`",
        );
    }
    if let Some(Found { facts, origin }) = found
        && facts.network != token.network
    {
        let what = format!(
            "the node is in network {}, but the token of {origin} is for network {}",
            token.network, facts.network
        );
        return Finding::warn(
            CHECK,
            what,
            "start the node with the token that the other machines have; compare `p2p-fed token show`",
        );
    }
    match token.warnings.is_empty() {
        true => Finding::ok(CHECK, format!("for network {}, its secrets are long enough", token.network)),
        false => Finding::warn(
            CHECK,
            token.warnings.join("; "),
            "mint a new token with `p2p-fed token`, and give it to all machines",
        ),
    }
}

/// The clock, with nothing to compare it with.
pub(in crate::doctor) fn clock(unix_ms: u64) -> Finding {
    match unix_ms < BEFORE {
        true => Finding::fail("clock", "it stands before 2025", SET_CLOCK),
        false => Finding::unknown("clock", "no peer to compare it with"),
    }
}

/// The clock against those of peers, as they were when each connected.
pub(super) fn clock_of(checkup: &Checkup) -> Finding {
    const CHECK: &str = "clock";
    if checkup.unix_ms < BEFORE {
        return clock(checkup.unix_ms);
    }
    let too_far = checkup.refusals.iter().find(|refusal| refusal.reason == "date").map_or(0, |refusal| refusal.count);
    let differing = |sign: f64| -> Vec<_> {
        checkup.peers.iter().filter(|peer| peer.clock_ahead_s * sign > CLOCKS_DIFFER).collect()
    };
    let (ahead, behind) = (differing(1.0), differing(-1.0));
    let most = checkup.peers.iter().map(|peer| peer.clock_ahead_s.abs()).fold(0.0, f64::max);
    if ahead.is_empty() && behind.is_empty() {
        return match (checkup.peers.len(), too_far) {
            (0, 0) => clock(checkup.unix_ms),
            (_, 1..) => Finding::warn(
                CHECK,
                format!(
                    "{} were not taken, because they are dated too far from now",
                    count(too_far as usize, "record")
                ),
                SET_CLOCK,
            ),
            (peers, 0) => {
                Finding::ok(CHECK, format!("within {:.0}s of that of {}", most.ceil().max(1.0), count(peers, "peer")))
            }
        };
    }
    // Where most others agree, it is this one.
    let is_ours = |differing: usize| differing >= 2 && differing * 2 > checkup.peers.len();
    let what = if is_ours(ahead.len()) {
        format!("it is behind those of {}, by up to {}", count(ahead.len(), "peer"), span(most as u64))
    } else if is_ours(behind.len()) {
        format!("it is ahead of those of {}, by up to {}", count(behind.len(), "peer"), span(most as u64))
    } else {
        let told = ahead.iter().chain(&behind).map(|peer| {
            let side = if peer.clock_ahead_s > 0.0 { "ahead of" } else { "behind" };
            let name = peer.name.as_ref().unwrap_or(&peer.id);
            format!("that of {name} is {} {side} this one", span(peer.clock_ahead_s.abs() as u64))
        });
        some(&told.collect::<Vec<_>>())
    };
    // Two windows of a token are looked at. Beyond, those that meet in a DHT or gossip miss each other.
    match most > checkup.token.interval_s as f64 {
        true => Finding::fail(
            CHECK,
            what,
            format!("{SET_CLOCK}; nodes that differ by more than {} s miss each other", checkup.token.interval_s),
        ),
        false => Finding::warn(CHECK, what, SET_CLOCK),
    }
}

/// The limit of open files against what is needed.
pub(in crate::doctor) fn files(files: &Files) -> Finding {
    const CHECK: &str = "files";
    const ADVICE: &str = "raise it: LimitNOFILE= of the systemd unit, or `ulimit -Hn`; or lower max_connections";
    let Some(limit) = files.limit else { return Finding::ok(CHECK, "no limit of open files") };
    match files.open {
        Some(open) if open.saturating_mul(10) >= limit.saturating_mul(9) => {
            Finding::fail(CHECK, format!("{open} of {limit} that the system allows are open"), ADVICE)
        }
        _ if limit < files.wanted => {
            let what =
                format!("the system allows {limit} open files, the configured connections can take {}", files.wanted);
            Finding::warn(CHECK, what, ADVICE)
        }
        _ => Finding::ok(CHECK, format!("{limit} allowed, {} needed at most", files.wanted)),
    }
}

/// What is bound.
pub(super) fn listening(net: &Facts) -> Finding {
    const CHECK: &str = "listening";
    let bound: Vec<_> = net.listening.iter().filter(|address| !address.contains("/p2p-circuit")).collect();
    let [tcp, quic] = ["/tcp/", "/quic-v1"].map(|part| bound.iter().any(|address| address.contains(part)));
    let is_loopback = |address: &&&String| address.starts_with("/ip4/127.") || address.starts_with("/ip6/::1/");
    if bound.is_empty() {
        return Finding::fail(
            CHECK,
            "nothing is bound, so nobody can dial this node",
            "restart it, and see what it logs",
        );
    }
    if bound.iter().all(|address| is_loopback(&address)) {
        let advice = match net.is_confined {
            true => "leave --listen-addr out, or give it 0.0.0.0 or an address of the network",
            false => "connect this machine to a network: it is taken within seconds",
        };
        return Finding::warn(CHECK, "on loopback alone: only nodes on this machine can dial it", advice);
    }
    match (tcp, quic) {
        (true, true) => Finding::ok(CHECK, format!("TCP and QUIC, {}", count(bound.len(), "listener"))),
        (true, false) => Finding::warn(
            CHECK,
            "on TCP alone",
            "add a QUIC address to --listen-addr: holes are punched more easily over UDP",
        ),
        _ => Finding::warn(
            CHECK,
            "on UDP alone",
            "add a TCP address to --listen-addr, for networks that let no UDP through",
        ),
    }
}

/// How large packets to peers may be.
pub(super) fn mtu(checkup: &Checkup) -> Finding {
    const CHECK: &str = "mtu";
    let Some(least) = checkup.mtus.iter().min_by_key(|mtu| mtu.bytes) else {
        return Finding::unknown(CHECK, "no peer that is reached directly");
    };
    let (bytes, ip) = (least.bytes, &least.ip);
    match bytes {
        0..MTU_LEAST => Finding::warn(
            CHECK,
            format!("packets to {ip} may have {bytes} bytes, IPv6 and QUIC need {MTU_LEAST}"),
            "raise the MTU of the interface, the VPN or the tunnel on the way; until then TCP is used",
        ),
        MTU_LEAST..MTU_USUAL => {
            Finding::ok(CHECK, format!("{bytes} bytes to {ip}: a VPN or tunnel is on the way; it is enough"))
        }
        _ => Finding::ok(CHECK, format!("{bytes} bytes or more to {}", count(checkup.mtus.len(), "peer"))),
    }
}

#[cfg(test)]
mod tests {
    use p2p_fed::api::Refusal;

    use super::{
        super::tests::{healthy, peer},
        *,
    };
    use crate::doctor::finding::State;

    fn facts(network: &str) -> TokenFacts {
        TokenFacts { network: network.into(), interval_s: 360, ..TokenFacts::default() }
    }

    #[test]
    fn tokens() {
        assert_eq!(token(&facts("a"), None).state, State::Ok);
        let expired = TokenFacts { obstacle: Some("the token's invitation expired".into()), ..facts("a") };
        assert_eq!(token(&expired, None).state, State::Fail);
        let weak = TokenFacts { warnings: vec!["`room` can be guessed".into()], ..facts("a") };
        let finding = token(&weak, None);
        assert_eq!((finding.state, &*finding.what), (State::Warn, "`room` can be guessed"));
        let found = |network| Found { facts: facts(network), origin: "./token".into() };
        assert_eq!(token(&facts("a"), Some(&found("a"))).state, State::Ok);
        let finding = token(&facts("a"), Some(&found("b")));
        assert_eq!(finding.state, State::Warn);
        assert_eq!(finding.what, "the node is in network a, but the token of ./token is for network b");
    }

    #[test]
    fn clocks() {
        let with = |ahead: &[f64]| {
            let peers = ahead.iter().map(|ahead| p2p_fed::api::Peer { clock_ahead_s: *ahead, ..peer("gpu1") });
            let finding = clock_of(&Checkup { peers: peers.collect(), ..healthy() });
            (finding.state, finding.what)
        };
        assert_eq!(with(&[0.2, -1.4]), (State::Ok, "within 2s of that of 2 peers".into()));
        assert_eq!(with(&[]).0, State::Unknown);
        assert_eq!(with(&[0.0, 45.0]), (State::Warn, "that of gpu1 is 45s ahead of this one".into()));
        assert_eq!(with(&[0.0, -3700.0]), (State::Fail, "that of gpu1 is 1h1m behind this one".into()));
        assert_eq!(with(&[45.0, 46.0, 0.0]), (State::Warn, "it is behind those of 2 peers, by up to 46s".into()));
        assert_eq!(with(&[-45.0, -46.0]), (State::Warn, "it is ahead of those of 2 peers, by up to 46s".into()));
        assert_eq!(clock(0).state, State::Fail);
        assert_eq!(clock_of(&Checkup { unix_ms: 0, ..healthy() }).state, State::Fail);
        let refusal = Refusal { reason: "date".into(), meaning: String::new(), count: 3 };
        let finding = clock_of(&Checkup { refusals: vec![refusal], ..healthy() });
        assert!(finding.state == State::Warn && finding.what.starts_with("3 records were not taken"), "{finding:?}");
    }

    #[test]
    fn open_files() {
        let with = |limit, open| files(&Files { limit, open, wanted: 2000 }).state;
        assert_eq!(with(None, None), State::Ok);
        assert_eq!(with(Some(4096), Some(100)), State::Ok);
        assert_eq!(with(Some(1024), Some(100)), State::Warn);
        assert_eq!(with(Some(1024), Some(1000)), State::Fail);
    }

    #[test]
    fn listeners() {
        let with = |listening: &[&str], is_confined| {
            let listening = listening.iter().map(|address| (*address).to_owned()).collect();
            listening_of(Facts { listening, is_confined, ..Facts::default() })
        };
        let (tcp, quic, lo) = ("/ip4/10.0.0.1/tcp/1", "/ip4/10.0.0.1/udp/1/quic-v1", "/ip4/127.0.0.1/tcp/1");
        assert_eq!(with(&[], false).state, State::Fail);
        assert_eq!(with(&["/ip4/1.2.3.4/tcp/1/p2p/x/p2p-circuit"], false).state, State::Fail, "a relay listens there");
        assert_eq!(with(&[tcp, quic, lo], false).state, State::Ok);
        assert!(with(&[tcp, lo], false).what.contains("TCP alone"));
        assert!(with(&[quic], false).what.contains("UDP alone"));
        assert!(with(&[lo, "/ip6/::1/tcp/1"], true).advice.unwrap().contains("--listen-addr"));
        assert!(with(&[lo], false).advice.unwrap().contains("to a network"));
    }

    fn listening_of(net: Facts) -> Finding {
        listening(&net)
    }

    #[test]
    fn packet_sizes() {
        let with = |bytes: &[u32]| {
            let mtu = |bytes: &u32| p2p_fed::api::Mtu { node: "n".into(), ip: "10.0.0.1".into(), bytes: *bytes };
            mtu_of(Checkup { mtus: bytes.iter().map(mtu).collect(), ..healthy() })
        };
        assert_eq!(with(&[]).state, State::Unknown);
        assert_eq!(with(&[65536, 1500]).what, "1500 bytes or more to 2 peers");
        assert!(with(&[1500, 1420]).what.contains("a VPN or tunnel"));
        assert_eq!(with(&[1280]).state, State::Ok);
        assert_eq!(with(&[1500, 1279]).state, State::Warn);
    }

    fn mtu_of(checkup: Checkup) -> Finding {
        mtu(&checkup)
    }
}
