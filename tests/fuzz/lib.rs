//! Arbitrary bytes for everything that takes bytes from outside: from a peer, from a user, from a disk.
//!
//! A *target* is a function of bytes that checks what must hold of them: nothing panics, what is read has one encoding,
//! what comes out is bounded, what was begun ends. Three things call it:
//!
//! * `cargo test` gives it its *seeds*, and what becomes of them by seeded chance;
//! * `make fuzz` gives it what libFuzzer makes of them, led by coverage;
//! * whoever has a line of hexadecimal digits from the one adds it to the seeds for the other.
//!
//! The seeds of a target are `seeds/<target>.hex`, one input a line. A crash that was found becomes a line there, and a
//! test named after it where the fault was.
//!
//! Formats that are read where nobody outside of the library reaches them (tickets, knocks, multicast DNS, HTTP's
//! framing) are given arbitrary bytes beside their code.

// Not the workspace's lints: what libFuzzer calls has to have a C name. A target stops at the first fault.
#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod datagrams;
mod gossip;
mod peers;
mod record;
mod restore;
mod rules;
mod script;
mod session;
mod snapshot;
mod token;
mod tunnel;

/// Something that takes bytes from outside.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its seeds.
    pub name: &'static str,
    /// Checks one input.
    pub check: fn(&[u8]),
    /// Its seeds, a line of hexadecimal digits each.
    seeds: &'static str,
}

macro_rules! target {
    ($name:literal, $check:path) => {
        Target { name: $name, check: $check, seeds: include_str!(concat!("seeds/", $name, ".hex")) }
    };
}

/// All there are.
pub const TARGETS: [Target; 12] = [
    target!("credential", rules::credential),
    target!("datagrams", datagrams::check),
    target!("decree", rules::decree),
    target!("gossip", gossip::check),
    target!("header", tunnel::header),
    target!("record", record::check),
    target!("restore", restore::check),
    target!("session", session::check),
    target!("snapshot", snapshot::check),
    target!("token", token::text),
    target!("token-yaml", token::yaml),
    target!("verdict", tunnel::verdict),
];

impl Target {
    /// The target of this name.
    pub fn named(name: &str) -> Option<Self> {
        TARGETS.into_iter().find(|target| target.name == name)
    }

    /// Its seeds.
    pub fn seeds(&self) -> impl Iterator<Item = Vec<u8>> {
        let digits = |line: &'static str| {
            let bytes = line.as_bytes().chunks(2).map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
            bytes.collect::<Option<Vec<u8>>>().unwrap_or_else(|| panic!("no hexadecimal digits: {line}"))
        };
        self.seeds.lines().map(digits)
    }
}

#[cfg(test)]
mod tests;
