//! Two hosts on a LAN of their own: network namespaces joined by a cable, where multicast goes from one to the other.

use std::{ffi::OsStr, process::Command as Blocking};

use tokio::process::Command;

/// A host. Its namespace goes when it is dropped.
pub struct Space {
    name: String,
    address: String,
}

/// Two hosts and the cable between them. Needs root.
pub fn cable() -> [Space; 2] {
    let name = |side| format!("p2pfed-interop-{}-{side}", std::process::id());
    let [a, b] = ["a", "b"].map(name);
    let hosts = [("10.77.0.1", a), ("10.77.0.2", b)];
    let spaces = hosts.map(|(address, name)| {
        run(&["netns", "add", &name]);
        Space { name, address: address.to_owned() }
    });
    let [a, b] = &spaces;
    run(&["-n", &a.name, "link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", &b.name]);
    for Space { name, address } in &spaces {
        run(&["-n", name, "link", "set", "lo", "up"]);
        run(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "eth0"]);
        run(&["-n", name, "link", "set", "eth0", "up"]);
        run(&["-n", name, "route", "add", "224.0.0.0/4", "dev", "eth0"]);
    }
    spaces
}

impl Space {
    /// Runs `program` there.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// Its address on the cable.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        // It is gone if the test was killed in between.
        let _ = Blocking::new("ip").args(["netns", "del", &self.name]).status();
    }
}

fn run(args: &[&str]) {
    let output = Blocking::new("ip").args(args).output().unwrap();
    assert!(output.status.success(), "ip {args:?}: {}; it needs root", String::from_utf8_lossy(&output.stderr));
}
