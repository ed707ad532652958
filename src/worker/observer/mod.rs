//! Sees from the bytes of a tunnel what is under way in it.
//!
//! A tunnel that carries HTTP is open for many requests and busy only while there is one. Fronts do not say when, and need not:
//! an [`Observer`] sits in the splice and follows both directions as far as to know where requests and responses begin and
//! end. It reads heads, sizes of chunks and headers of frames; bodies it skips by their lengths, so that bulk costs nothing.
//! It changes nothing and delays nothing.
//!
//! A front opens a tunnel when it has something to send. So one is under way from the verdict on, and the first request is
//! that one.
//!
//! **Invariant.** Whatever the bytes are, and however they are cut, memory is bounded, and at the end of the tunnel nothing
//! is under way. Whoever loses the place counts one for as long as the tunnel is open, as for bytes of which nothing is known.

mod http1;
mod http2;
mod message;
#[cfg(test)]
mod tests;

use http1::Http1;
use http2::Http2;

use super::tally::Account;
use crate::tunnel::{Class, Load, Watch};

/// Looks at one tunnel.
#[derive(Debug)]
pub(super) struct Observer {
    account: Account,
    follows: Follows,
    /// Which directions ended: from the backend, to it.
    ended: [bool; 2],
}

#[derive(Debug)]
enum Follows {
    /// One, as long as the tunnel is open.
    Nothing,
    Http1(Http1),
    Http2(Http2),
}

/// The bytes are not what they should be, or not any more.
#[derive(Debug)]
struct Lost;

impl Observer {
    /// A tunnel of `class` that was accepted.
    pub(super) fn new(class: Class, mut account: Account) -> Self {
        account.begin();
        let follows = match class {
            Class::Http => Follows::Http1(Http1::new()),
            Class::Http2 => Follows::Http2(Http2::new()),
            Class::Tcp | Class::Udp | Class::Load => Follows::Nothing,
        };
        Self { account, follows, ended: [false; 2] }
    }

    /// What there is to tell the front now.
    pub(super) fn load(&self) -> Load {
        self.account.load()
    }

    /// Stops looking where the place was lost.
    fn heed(&mut self, followed: Result<Option<Load>, Lost>) -> Option<Load> {
        followed.unwrap_or_else(|Lost| {
            self.follows = Follows::Nothing;
            self.account.hold();
            None
        })
    }

    fn ends(&mut self, direction: usize) -> Option<Load> {
        self.ended = [self.ended[0] || direction == 0, self.ended[1] || direction == 1];
        let is_over = match &self.follows {
            Follows::Nothing => self.ended == [true; 2],
            // A backend that has ended answers nothing more, and who has sent nothing sends nothing more.
            Follows::Http1(http1) => self.ended[0] || http1.is_unused(),
            Follows::Http2(http2) => self.ended[0] || http2.is_unused(),
        };
        if is_over { self.account.end_all() } else { None }
    }
}

impl Watch for Observer {
    fn up(&mut self, bytes: &[u8]) -> Option<Load> {
        if bytes.is_empty() {
            return self.ends(0);
        }
        let followed = match &mut self.follows {
            Follows::Nothing => return None,
            Follows::Http1(http1) => http1.up(bytes, &mut self.account),
            Follows::Http2(http2) => http2.up(bytes, &mut self.account),
        };
        self.heed(followed)
    }

    fn down(&mut self, bytes: &[u8]) {
        if bytes.is_empty() {
            // Nobody is told: the report would have to leave in the other direction.
            self.ends(1);
            return;
        }
        let followed = match &mut self.follows {
            Follows::Nothing => return,
            Follows::Http1(http1) => http1.down(bytes, &mut self.account),
            Follows::Http2(http2) => http2.down(bytes, &mut self.account),
        };
        self.heed(followed.map(|()| None));
    }

    fn stalled(&mut self, is_stalled: bool) {
        self.account.stalled(is_stalled);
    }
}
