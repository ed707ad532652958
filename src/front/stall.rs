//! A clock that runs only while something is waited for.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

/// Measures how long one thing stands still. It costs no timer until the first wait, and one from then on.
#[derive(Debug, Default)]
pub(super) struct Stall {
    sleep: Option<Pin<Box<Sleep>>>,
    running: bool,
}

impl Stall {
    /// It moved: the next wait starts at zero.
    pub(super) fn moved(&mut self) {
        self.running = false;
    }

    /// Ready once it stood still for `limit`. The first poll after [`Self::moved`] starts the wait.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, limit: Duration) -> Poll<()> {
        if !std::mem::replace(&mut self.running, true) {
            match &mut self.sleep {
                Some(sleep) => sleep.as_mut().reset(Instant::now() + limit),
                None => self.sleep = Some(Box::pin(sleep(limit))),
            }
        }
        match &mut self.sleep {
            Some(sleep) => sleep.as_mut().poll(cx),
            None => Poll::Pending,
        }
    }
}
