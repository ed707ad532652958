//! One number that a run gives.

/// A number, how it is shown, and which way is good.
#[derive(Clone, Copy, Debug)]
pub(super) struct Figure {
    /// In JSON.
    pub(super) key: &'static str,
    /// In the tables, with the unit.
    pub(super) title: &'static str,
    /// In JSON.
    pub(super) unit: &'static str,
    /// Which way is good.
    pub(super) better: Better,
    /// What it takes more than the direct path is of interest: a latency of one client.
    pub(super) is_added: bool,
}

/// Which way is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Better {
    /// More.
    Higher,
    /// Less.
    Lower,
    /// It is an answer, 1 for yes.
    Yes,
}

impl Figure {
    pub(super) const fn higher(key: &'static str, title: &'static str, unit: &'static str) -> Self {
        Self { key, title, unit, better: Better::Higher, is_added: false }
    }

    pub(super) const fn lower(key: &'static str, title: &'static str, unit: &'static str) -> Self {
        Self { key, title, unit, better: Better::Lower, is_added: false }
    }

    pub(super) const fn added(key: &'static str, title: &'static str) -> Self {
        Self { key, title, unit: "µs", better: Better::Lower, is_added: true }
    }

    pub(super) const fn answer(key: &'static str, title: &'static str) -> Self {
        Self { key, title, unit: "1 is yes", better: Better::Yes, is_added: false }
    }
}
