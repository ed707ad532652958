//! What a site's router does, as rules of the kernel's own nftables. `lan0` is inside, `eth0` outside.

/// What a router does with what goes out and comes in. In the words of RFC 4787, the first three map a port of the inside to one
/// port of the outside, whoever is spoken to, and differ in whom they let in there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nat {
    /// Anybody, once something went out of the port: "full cone".
    Open,
    /// Whoever has that address, once something went there out of the port: "address-restricted cone".
    Restricted,
    /// Nobody but the address and port that something went to: most home routers, "port-restricted cone".
    Cone,
    /// Likewise; and the port outside is another one for each that is spoken to.
    Symmetric,
}

/// How long an open port stays open without anything going out of it: what RFC 4787 asks for at least.
const OPEN: &str = "120s";

/// Lets answers in and nothing else. Of both families.
pub fn firewall() -> String {
    // Without the rule for input, a packet of the other end that comes too early makes an entry of its own, which takes the port
    // away from the one that is to be punched.
    "table inet filt {
        chain inp {
            type filter hook input priority 0; policy accept;
            iifname \"eth0\" ct state new drop
        }
        chain forw {
            type filter hook forward priority 0; policy drop;
            ct state established,related accept
            ct status dnat accept
            iifname \"lan0\" accept
        }
    }
    "
    .to_owned()
}

/// The NAT of a router with one host, which has that address.
pub fn nat(nat: Nat, host: &str) -> String {
    let random = if nat == Nat::Symmetric { " fully-random" } else { "" };
    // The kernel lets in answers alone. What else is let in is remembered beside it: with one host inside, ports are kept, so the
    // port inside is the one outside.
    let (kind, out, back) = match nat {
        Nat::Open => ("", "", ""),
        Nat::Restricted => (" . ipv4_addr", " . ip daddr", " . ip saddr"),
        Nat::Cone | Nat::Symmetric => return format!("table ip nat {{\n{}\n}}\n", masquerade(random)),
    };
    format!(
        "table ip nat {{
            set open {{
                type inet_proto . inet_service{kind}
                size 65536
                flags dynamic,timeout
                timeout {OPEN}
            }}
            chain out {{
                type filter hook forward priority -1; policy accept;
                iifname \"lan0\" meta l4proto {{ tcp, udp }} update @open {{ meta l4proto . th sport{out} }}
            }}
            chain pre {{
                type nat hook prerouting priority dstnat; policy accept;
                iifname \"eth0\" meta l4proto {{ tcp, udp }} meta l4proto . th dport{back} @open dnat to {host}
            }}
            {}
        }}
        ",
        masquerade(random)
    )
}

fn masquerade(random: &str) -> String {
    format!(
        "chain post {{
            type nat hook postrouting priority srcnat; policy accept;
            oifname \"eth0\" masquerade{random}
        }}"
    )
}

/// Nothing of that protocol through a router, and no answer to a host's own. Of both families. Nobody is told.
pub fn blocked(protocol: &str) -> String {
    format!(
        "table inet blocked-{protocol} {{
            chain inp {{
                type filter hook input priority -10; policy accept;
                iifname \"eth0\" meta l4proto {protocol} drop
            }}
            chain forw {{
                type filter hook forward priority -10; policy accept;
                meta l4proto {protocol} drop
            }}
        }}
        "
    )
}

/// The chain with the ports that miniupnpd opened.
pub const OPENED: &str = "inet miniupnpd opened";

/// Chains for miniupnpd.
pub fn openable() -> &'static str {
    "table inet miniupnpd {
        chain forward {
            type filter hook forward priority 1; policy accept;
            jump passed
        }
        chain pre {
            type nat hook prerouting priority -101; policy accept;
            jump opened
        }
        chain post {
            type nat hook postrouting priority 101; policy accept;
            jump answered
        }
        chain passed {
        }
        chain opened {
        }
        chain answered {
        }
    }
    "
}

/// How miniupnpd is told of them, and which protocol it `speaks`.
pub fn opener(speaks: &str) -> String {
    let [upnp, natpmp] = ["upnp", "natpmp"].map(|protocol| if protocol == speaks { "yes" } else { "no" });
    format!(
        "ext_ifname=eth0
listening_ip=lan0
enable_natpmp={natpmp}
enable_upnp={upnp}
secure_mode=yes
upnp_table_name=miniupnpd
upnp_nat_table_name=miniupnpd
upnp_forward_chain=passed
upnp_nat_chain=opened
upnp_nat_postrouting_chain=answered
uuid=00000000-0000-4000-8000-000000000000
allow 1024-65535 0.0.0.0/0 1024-65535
deny 0-65535 0.0.0.0/0 0-65535
"
    )
}
