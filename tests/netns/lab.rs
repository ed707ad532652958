//! Namespaces, and what connects them.

use std::{
    fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
};

use p2p_fed_netns::{Counts, Internet, Port, Quality};

use crate::{
    node::on,
    router::{Nat, OPENED, blocked, firewall, nat, openable, opener},
    shell::{feed, run, tried},
};

/// How all namespaces of these tests begin.
const PREFIX: &str = "p2pfed";

/// Labs of this process.
static LABS: AtomicU32 = AtomicU32::new(0);

/// The family of addresses of a lab's internet. It has no other.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

/// A set of networks. Dropped, everything in it is gone.
pub struct Lab {
    id: String,
    spaces: Vec<String>,
    internet: Internet,
    family: Family,
    hosts: u8,
}

/// A host: its namespace, its address as others see it, and where its network is attached to the internet, if it is.
#[derive(Clone)]
pub struct Host {
    pub space: String,
    pub address: String,
    port: Option<Port>,
}

impl Host {
    /// As the first part of a multiaddr.
    pub fn multiaddr(&self) -> String {
        format!("/{}/{}", if self.address.contains(':') { "ip6" } else { "ip4" }, self.address)
    }

    fn port(&self) -> Port {
        self.port.expect("a host on the internet")
    }
}

impl Lab {
    /// An internet without anybody.
    pub fn new() -> Self {
        Self::of(Family::V4, 1)
    }

    /// The chance of its lines follows from the seed.
    pub fn of(family: Family, seed: u64) -> Self {
        sweep();
        watch();
        let id = format!("{PREFIX}-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let internet = Internet::new(seed).expect("a thread");
        Self { id, spaces: Vec::new(), internet, family, hosts: 0 }
    }

    /// A host that anybody can dial.
    pub fn public(&mut self, name: &str) -> Host {
        let space = self.space(name);
        let (port, address) = self.attach(&space);
        Host { space, address, port: Some(port) }
    }

    /// A host behind a router. On IPv4 its address is the router's; on IPv6 it has its own, and the router is a firewall alone.
    pub fn site(&mut self, name: &str, behaviour: Nat) -> Host {
        let router = self.space(&format!("{name}-r"));
        let space = self.space(name);
        let (port, address) = self.attach(&router);
        run(&format!("ip link add lan0 netns {router} type veth peer name eth0 netns {space}"));
        run(&format!("ip -n {router} link set lan0 up"));
        run(&format!("ip -n {space} link set eth0 up"));
        let (inside, outside, length, sysctl) = match self.family {
            Family::V4 => {
                let net = format!("192.168.{}", self.hosts);
                (format!("{net}.2"), format!("{net}.1"), 24, "net.ipv4.ip_forward")
            }
            Family::V6 => {
                (port.ipv6(1, 2).to_string(), port.ipv6(1, 1).to_string(), 64, "net.ipv6.conf.all.forwarding")
            }
        };
        self.address(&router, "lan0", &format!("{outside}/{length}"));
        self.address(&space, "eth0", &format!("{inside}/{length}"));
        run(&format!("ip -n {space} route add default via {outside}"));
        run(&format!("ip netns exec {router} sysctl -qw {sysctl}=1"));
        self.rules(&router, &firewall());
        let address = match self.family {
            Family::V4 => {
                self.rules(&router, &nat(behaviour, &inside));
                address
            }
            Family::V6 => inside,
        };
        Host { space, address, port: Some(port) }
    }

    /// A network of its own, without internet and DNS: `10.9.0.` and `/24`, say.
    pub fn lan(&mut self, names: [&str; 2], (prefix, length): (&str, &str)) -> [Host; 2] {
        let switch = self.space("switch");
        run(&format!("ip -n {switch} link add br0 type bridge"));
        run(&format!("ip -n {switch} link set br0 up"));
        names.map(|name| {
            let space = self.space(name);
            self.hosts += 1;
            let (address, plug) = (format!("{prefix}{}", self.hosts), format!("p{}", self.hosts));
            run(&format!("ip link add {plug} netns {switch} type veth peer name eth0 netns {space}"));
            run(&format!("ip -n {switch} link set {plug} master br0 up"));
            run(&format!("ip -n {space} link set eth0 up"));
            self.address(&space, "eth0", &format!("{address}{length}"));
            Host { space, address, port: None }
        })
    }

    /// The host has another address from now on, and not the one it had.
    pub fn readdress(&self, host: &mut Host, address: &str, length: &str) {
        // In this order: with the first address of a network the kernel removes the others of it as well.
        run(&format!("ip -n {} addr del {}{length} dev eth0", host.space, host.address));
        run(&format!("ip -n {} addr add {address}{length} dev eth0", host.space));
        host.address = address.to_owned();
    }

    /// The router of a site has forgotten every connection.
    pub fn reboot(&self, site: &Host) {
        run(&format!("ip netns exec {} conntrack -F", self.border(site)));
    }

    /// The router of a site forgets where datagrams came from, so many seconds after the last one.
    pub fn forgetful(&self, site: &Host, seconds: u32) {
        for knob in ["nf_conntrack_udp_timeout", "nf_conntrack_udp_timeout_stream"] {
            run(&format!("ip netns exec {} sysctl -qw net.netfilter.{knob}={seconds}", self.border(site)));
        }
    }

    /// What a host's own TCP sends is paced by `reno` or `bbr`. Linux's usual, `cubic`, is not to be chosen in a namespace.
    pub fn paced(&self, host: &Host, control: &str) {
        run(&format!("ip netns exec {} sysctl -qw net.ipv4.tcp_congestion_control={control}", host.space));
    }

    /// Every line of the internet carries that well from now on.
    pub fn usually(&self, quality: Quality) {
        self.internet.usually(quality);
    }

    /// The line between the networks of two hosts carries that well from now on, both ways.
    pub fn between(&self, one: &Host, other: &Host, quality: Quality) {
        self.one_way(one, other, quality);
        self.one_way(other, one, quality);
    }

    /// Likewise, in one direction.
    pub fn one_way(&self, from: &Host, to: &Host, quality: Quality) {
        self.internet.set(from.port(), to.port(), quality);
    }

    /// What became of the packets from one host's network to the other's. With a full simulator a test says nothing.
    pub fn counts(&self, from: &Host, to: &Host) -> Counts {
        assert_eq!(self.internet.dropped(), 0, "more is on its way than there is room for");
        self.internet.counts(from.port(), to.port())
    }

    /// Nothing passes between two hosts on the internet any more.
    pub fn part(&self, one: &Host, other: &Host) {
        self.between(one, other, Quality { cut: true, ..Quality::default() });
    }

    /// Everything passes again.
    pub fn heal(&self, one: &Host, other: &Host) {
        self.between(one, other, Quality::default());
    }

    /// Lets a site's router open ports for whoever asks, by `upnp` or `natpmp` (with PCP), until what is returned is dropped.
    pub fn opening(&self, site: &Host, speaks: &str) -> (tokio::process::Child, tempfile::TempDir) {
        let router = self.border(site).to_owned();
        self.rules(&router, openable());
        let folder = tempfile::tempdir().unwrap();
        let (config, pid) = (folder.path().join("conf"), folder.path().join("pid"));
        fs::write(&config, opener(speaks)).unwrap();
        let host = Host { space: router, address: site.address.clone(), port: None };
        let mut opener = on(&host, "miniupnpd");
        opener.arg("-d").arg("-f").arg(config).arg("-P").arg(pid).stdout(Stdio::null()).stderr(Stdio::null());
        (opener.spawn().expect("miniupnpd"), folder)
    }

    /// How many ports it has opened.
    pub fn opened(&self, site: &Host) -> usize {
        run(&format!("ip netns exec {} nft list chain {OPENED}", self.border(site))).matches("dnat").count()
    }

    /// A firewall on a public host: it lets in answers alone.
    pub fn shut(&self, host: &Host) {
        self.rules(&host.space, &firewall());
    }

    /// Nothing of this protocol, `udp` or `tcp`, passes into the host's network and out of it.
    pub fn without(&self, protocol: &str, host: &Host) {
        self.rules(self.border(host), &blocked(protocol));
    }

    /// The datagrams' connections that the router of a site knows: one per line, its first number the seconds until it is forgotten.
    pub fn known(&self, site: &Host) -> String {
        run(&format!("ip netns exec {} conntrack -L -p udp", self.border(site)))
    }

    /// What of a host's network is attached to the internet: its router, or the host.
    fn border<'a>(&'a self, host: &'a Host) -> &'a str {
        let router = format!("{}-r", host.space);
        self.spaces.iter().find(|space| **space == router).unwrap_or(&host.space)
    }

    fn space(&mut self, name: &str) -> String {
        let space = format!("{}-{name}", self.id);
        run(&format!("ip netns add {space}"));
        self.spaces.push(space.clone());
        run(&format!("ip -n {space} link set lo up"));
        space
    }

    /// Connects it to the internet; returns where, and its address there.
    fn attach(&mut self, space: &str) -> (Port, String) {
        self.hosts += 1;
        let port = self.internet.attach(space).expect("a TUN in the namespace");
        let address = match self.family {
            Family::V4 => port.ipv4().to_string(),
            Family::V6 => port.ipv6(0, 1).to_string(),
        };
        self.address(space, "eth0", &format!("{address}/{}", if self.family == Family::V4 { 24 } else { 64 }));
        if self.family == Family::V6 {
            run(&format!("ip -n {space} -6 route add default dev eth0"));
        }
        (port, address)
    }

    fn address(&self, space: &str, device: &str, address: &str) {
        // Duplicates are looked for by nobody: an IPv6 address can be used at once.
        let at_once = if address.contains(':') { " nodad" } else { "" };
        run(&format!("ip -n {space} addr add {address} dev {device}{at_once}"));
    }

    fn rules(&self, space: &str, rules: &str) {
        feed(&format!("ip netns exec {space} nft -f -"), rules);
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.spaces.iter().for_each(|space| remove(space));
    }
}

fn remove(space: &str) {
    let pids = tried(&format!("ip netns pids {space}"));
    for pid in String::from_utf8_lossy(&pids.stdout).split_whitespace() {
        tried(&format!("kill -9 {pid}"));
    }
    tried(&format!("ip netns del {space}"));
}

/// Removes what this process leaves, as soon as it is gone: what waits for that reads from it until then. Ctrl-C does not reach it.
fn watch() {
    static WATCHES: OnceLock<Child> = OnceLock::new();
    let own = format!("{PREFIX}-{}-", std::process::id());
    let script = format!(
        "read -r _; for space in $(ip netns list | grep -o '^{own}[^ ]*'); do \
         ip netns pids $space | xargs -r kill -9; ip netns del $space; done"
    );
    WATCHES.get_or_init(|| {
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]).process_group(0).stdin(Stdio::piped()).stdout(Stdio::null());
        shell.spawn().expect("a shell")
    });
}

/// Removes what runs left that were killed together with what watched them.
fn sweep() {
    let list = tried("ip netns list");
    for line in String::from_utf8_lossy(&list.stdout).lines() {
        let space = line.split_whitespace().next().unwrap_or_default();
        let pid = space.strip_prefix(PREFIX).and_then(|rest| rest.split('-').nth(1));
        if pid.is_some_and(|pid| !fs::exists(Path::new("/proc").join(pid)).unwrap_or(true)) {
            remove(space);
        }
    }
}
