//! Namespaces, and what connects them.

use std::{
    fs,
    io::Write,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::shell::{run, tried};

/// How all namespaces of these tests begin.
const PREFIX: &str = "p2pfed";

/// Labs of this process.
static LABS: AtomicU32 = AtomicU32::new(0);

/// What a site's router does with what goes out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Nat {
    /// The same port for all that comes from one: most home routers.
    Cone,
    /// Another port for each.
    Symmetric,
}

/// A set of networks. Dropped, everything in it is gone.
pub struct Lab {
    id: String,
    spaces: Vec<String>,
    hosts: u8,
}

/// A host: its namespace, and its address as others see it.
#[derive(Clone)]
pub struct Host {
    pub space: String,
    pub address: String,
}

impl Lab {
    /// An internet without anybody.
    pub fn new() -> Self {
        sweep();
        let id = format!("{PREFIX}-{}-{}", std::process::id(), LABS.fetch_add(1, Ordering::Relaxed));
        let mut lab = Self { id, spaces: Vec::new(), hosts: 0 };
        let wan = lab.space("wan");
        run(&format!("ip -n {wan} link add br0 type bridge"));
        run(&format!("ip -n {wan} link set br0 up"));
        lab
    }

    /// A host that anybody can dial.
    pub fn public(&mut self, name: &str) -> Host {
        let space = self.space(name);
        let address = self.attach(&space);
        Host { space, address }
    }

    /// A host behind a router. Its address is the router's.
    pub fn site(&mut self, name: &str, nat: Nat) -> Host {
        let router = self.space(&format!("{name}-r"));
        let space = self.space(name);
        let address = self.attach(&router);
        let net = format!("192.168.{}", self.hosts);
        run(&format!("ip link add lan0 netns {router} type veth peer name eth0 netns {space}"));
        run(&format!("ip -n {router} addr add {net}.1/24 dev lan0"));
        run(&format!("ip -n {router} link set lan0 up"));
        run(&format!("ip -n {space} addr add {net}.2/24 dev eth0"));
        run(&format!("ip -n {space} link set eth0 up"));
        run(&format!("ip -n {space} route add default via {net}.1"));
        run(&format!("ip netns exec {router} sysctl -qw net.ipv4.ip_forward=1"));
        let random = if nat == Nat::Symmetric { " fully-random" } else { "" };
        // Without the rule for input, a packet of the other end that comes too early makes an entry of its own, which takes the
        // port away from the one that is to be punched.
        self.rules(
            &router,
            &format!(
                "table ip nat {{\n chain post {{\n type nat hook postrouting priority srcnat; policy accept;\n \
                 oifname \"eth0\" masquerade{random}\n }}\n}}\n\
                 table ip filt {{\n chain inp {{\n type filter hook input priority 0; policy accept;\n \
                 iifname \"eth0\" ct state new drop\n }}\n chain forw {{\n type filter hook forward priority 0; policy drop;\n \
                 ct state established,related accept\n iifname \"lan0\" accept\n }}\n}}\n"
            ),
        );
        Host { space, address }
    }

    /// A network of its own, without internet and DNS: `10.9.0.` and `/24`, say.
    pub fn lan(&mut self, names: [&str; 2], (prefix, length): (&str, &str)) -> [Host; 2] {
        let switch = self.space("switch");
        run(&format!("ip -n {switch} link add br0 type bridge"));
        run(&format!("ip -n {switch} link set br0 up"));
        names.map(|name| {
            let space = self.space(name);
            self.hosts += 1;
            let address = format!("{prefix}{}", self.hosts);
            self.plug(&switch, &space, &format!("{address}{length}"));
            Host { space, address }
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
        run(&format!("ip netns exec {}-r conntrack -F", site.space));
    }

    /// Nothing passes between two hosts on the internet any more.
    pub fn part(&self, one: &Host, other: &Host) {
        let (one, other) = (&one.address, &other.address);
        self.rules(
            &self.wan(),
            &format!(
                "table bridge part {{\n chain f {{\n type filter hook forward priority 0; policy accept;\n \
                 ip saddr {one} ip daddr {other} drop\n ip saddr {other} ip daddr {one} drop\n }}\n}}\n"
            ),
        );
    }

    /// Everything passes again.
    pub fn heal(&self) {
        run(&format!("ip netns exec {} nft delete table bridge part", self.wan()));
    }

    /// No datagrams pass on the internet.
    pub fn without_udp(&self) {
        self.rules(
            &self.wan(),
            "table bridge blocked {\n chain f {\n type filter hook forward priority 0; policy accept;\n ip protocol udp drop\n }\n}\n",
        );
    }

    fn wan(&self) -> String {
        format!("{}-wan", self.id)
    }

    fn space(&mut self, name: &str) -> String {
        let space = format!("{}-{name}", self.id);
        run(&format!("ip netns add {space}"));
        self.spaces.push(space.clone());
        run(&format!("ip -n {space} link set lo up"));
        space
    }

    /// Connects it to the internet; returns its address there.
    fn attach(&mut self, space: &str) -> String {
        self.hosts += 1;
        let address = format!("203.0.113.{}", self.hosts);
        let wan = self.wan();
        self.plug(&wan, space, &format!("{address}/24"));
        address
    }

    fn plug(&self, switch: &str, space: &str, address: &str) {
        let port = format!("p{}", self.hosts);
        run(&format!("ip link add {port} netns {switch} type veth peer name eth0 netns {space}"));
        run(&format!("ip -n {switch} link set {port} master br0 up"));
        // Duplicates are looked for by nobody: an IPv6 address can be used at once.
        let at_once = if address.contains(':') { " nodad" } else { "" };
        run(&format!("ip -n {space} link set eth0 up"));
        run(&format!("ip -n {space} addr add {address} dev eth0{at_once}"));
    }

    fn rules(&self, space: &str, rules: &str) {
        let mut nft = Command::new("ip");
        nft.args(["netns", "exec", space, "nft", "-f", "-"]).stdin(Stdio::piped());
        let mut child = nft.spawn().expect("ip is installed");
        child.stdin.take().unwrap().write_all(rules.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success(), "nft in {space}: {rules}");
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

/// Removes what runs left that were killed.
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
