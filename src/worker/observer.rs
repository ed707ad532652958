//! Sees from the bytes of a tunnel what is under way in it.

use super::tally::Account;
use crate::tunnel::{Class, Load, Watch};

/// Looks at one tunnel.
#[derive(Debug)]
pub(super) struct Observer {
    account: Account,
    ends: (bool, bool),
}

impl Observer {
    /// Begins with the one for which the front opened the tunnel.
    pub(super) fn new(_class: Class, mut account: Account) -> Self {
        account.begin();
        Self { account, ends: (false, false) }
    }

    pub(super) fn load(&self) -> Load {
        self.account.load()
    }

    fn ended(&mut self) -> Option<Load> {
        (self.ends == (true, true) && self.account.busy() > 0).then(|| self.account.end())
    }
}

impl Watch for Observer {
    fn up(&mut self, bytes: &[u8]) -> Option<Load> {
        self.ends.0 |= bytes.is_empty();
        self.ended()
    }

    fn down(&mut self, bytes: &[u8]) {
        self.ends.1 |= bytes.is_empty();
        self.ended();
    }

    fn stalled(&mut self, is_stalled: bool) {
        self.account.stalled(is_stalled);
    }
}
