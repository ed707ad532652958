//! Whether an endpoint may have a request, and what is in the way.

use std::time::Duration;

/// What stands between an endpoint and a request; the first that applies, in the order in which they are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// The node takes no new work, or is about to leave the table.
    Draining,
    /// It was tried for this request.
    Tried,
    /// Its backend speaks something else.
    OtherProtocol,
    /// Its backend does not have the model.
    WithoutModel,
    /// Left out because of what this front saw of it, until then.
    Ejected(Duration),
    /// Ours are there and it has not reported for long.
    Lost,
    /// It said that it does not take this work, and is asked again then.
    Declining(Duration),
    /// Back from an ejection, and the one request that it may have is there.
    Proving,
    /// It works on as many as it can.
    Full,
    /// Ours are there and its reports are late: it may be full.
    Silent,
    /// Nothing.
    Available,
}

/// How far down an endpoint is in the order of choice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Bar {
    /// It can take work now.
    Free,
    /// It can once something ends there.
    Busy,
    /// It had better not: better than nobody.
    LeftOut,
    /// It can't have this request at all.
    Barred,
}

impl Standing {
    pub(super) fn bar(self) -> Bar {
        match self {
            Self::Draining | Self::Tried | Self::OtherProtocol | Self::WithoutModel => Bar::Barred,
            Self::Ejected(_) | Self::Lost | Self::Declining(_) | Self::Proving => Bar::LeftOut,
            Self::Full | Self::Silent => Bar::Busy,
            Self::Available => Bar::Free,
        }
    }

    /// When time alone makes it better; zero where it does not.
    pub(super) fn until(self) -> Duration {
        match self {
            Self::Ejected(until) | Self::Declining(until) => until,
            _ => Duration::ZERO,
        }
    }

    /// For people.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Draining => "draining",
            Self::Tried => "tried",
            Self::OtherProtocol => "another protocol",
            Self::WithoutModel => "without the model",
            Self::Ejected(_) => "ejected",
            Self::Lost => "lost",
            Self::Declining(_) => "declining",
            Self::Proving => "proving",
            Self::Full => "full",
            Self::Silent => "silent",
            Self::Available => "available",
        }
    }
}
