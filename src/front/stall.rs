//! A clock that runs only while something is waited for.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep};

use super::CREDIT_MAX;

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

/// Measures whether something comes fast enough. While it is waited for, credit is used up; what comes earns more.
#[derive(Debug)]
pub(super) struct Pace {
    grace: Duration,
    /// Bytes per second; zero for any.
    rate: u32,
    credit: Duration,
    /// When the wait began that is going on.
    waiting_since: Option<Instant>,
    stall: Stall,
}

impl Pace {
    /// `grace` to begin with; `rate` bytes earn a second.
    pub(super) fn new(grace: Duration, rate: u32) -> Self {
        Self { grace, rate, credit: grace, waiting_since: None, stall: Stall::default() }
    }

    /// `bytes` came.
    pub(super) fn moved(&mut self, bytes: usize) {
        // If it waited for longer than its credit, the wait was ours: we did not ask in between.
        if let Some(waited) = self.waiting_since.take().map(|since| since.elapsed())
            && waited < self.credit
        {
            self.credit -= waited;
        }
        if self.rate > 0 {
            let earned = Duration::from_secs_f64(bytes as f64 / f64::from(self.rate));
            self.credit = self.credit.saturating_add(earned).min(CREDIT_MAX.max(self.grace));
        }
        self.stall.moved();
    }

    /// Ready once the credit is used up.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.rate == 0 {
            return Poll::Pending;
        }
        self.waiting_since.get_or_insert_with(Instant::now);
        self.stall.poll(cx, self.credit)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::time::timeout;

    use super::*;

    async fn outlasts(pace: &mut Pace, wait: Duration) -> bool {
        timeout(wait, poll_fn(|cx| pace.poll(cx))).await.is_err()
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn what_trickles_uses_its_grace_up_and_what_flows_does_not() {
        let mut trickle = Pace::new(10 * SECOND, 500);
        for _ in 0..9 {
            assert!(outlasts(&mut trickle, SECOND).await);
            trickle.moved(10);
        }
        assert!(!outlasts(&mut trickle, 2 * SECOND).await);

        let mut flow = Pace::new(10 * SECOND, 500);
        for _ in 0..1000 {
            assert!(outlasts(&mut flow, SECOND).await);
            flow.moved(500);
        }
        assert!(!outlasts(&mut flow, 11 * SECOND).await);
    }

    #[tokio::test(start_paused = true)]
    async fn who_was_quick_may_pause_for_a_minute_and_not_for_ever() {
        let mut pace = Pace::new(10 * SECOND, 500);
        pace.moved(1 << 30);
        assert!(outlasts(&mut pace, 59 * SECOND).await);
        assert!(!outlasts(&mut pace, 2 * SECOND).await);
        assert!(outlasts(&mut Pace::new(SECOND, 0), 1000 * SECOND).await);
    }
}
