//! By what way two nodes are connected.

use libp2p::core::ConnectedPoint;

/// By what way a connection goes. The lesser, the better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Path {
    /// One node dialled an address of the other.
    Direct,
    /// Both dialled at the same moment, each through its own NAT.
    Punched,
    /// Through a relay, which sees nothing but ciphertext.
    Relayed,
}

impl Path {
    /// The way of a connection; `punched` where it came of a hole punch.
    pub(super) fn of(point: &ConnectedPoint, punched: bool) -> Self {
        match (point.is_relayed(), punched) {
            (true, _) => Self::Relayed,
            (false, true) => Self::Punched,
            (false, false) => Self::Direct,
        }
    }

    /// `direct`, `punched` or `relayed`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Punched => "punched",
            Self::Relayed => "relayed",
        }
    }
}
