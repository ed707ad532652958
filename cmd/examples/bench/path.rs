//! The ways from the client to the backend.

use clap::ValueEnum;

/// How the client reaches the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(super) enum Path {
    /// Without anything between.
    Direct,
    /// Through two processes of this program that copy TCP.
    Relay,
    /// Through two haproxy, TLS between them.
    Haproxy,
    /// Through two stunnel.
    Stunnel,
    /// Through ssh and sshd.
    Ssh,
    /// Through rathole's server and client.
    Rathole,
    /// Through a front and a worker.
    P2pFed,
}

impl Path {
    /// All, the yardsticks first.
    pub(super) const ALL: [Self; 7] =
        [Self::Direct, Self::Relay, Self::Haproxy, Self::Stunnel, Self::Ssh, Self::Rathole, Self::P2pFed];

    /// As shown.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Relay => "relay",
            Self::Haproxy => "haproxy",
            Self::Stunnel => "stunnel",
            Self::Ssh => "ssh",
            Self::Rathole => "rathole",
            Self::P2pFed => "p2p-fed",
        }
    }
}
