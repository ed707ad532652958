//! Clients at once that each do the same again and again.

use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::{task::JoinSet, time::timeout};

use super::{exchange::LIMIT, samples::percentile, taken::Errors};

/// Failures in a row, after which a client gives up: each is counted, and the rest of the run goes on.
const ENOUGH: u64 = 100;

/// What one client does.
pub(super) trait Client: Send + 'static {
    /// Whatever must be there for the next act, and is not timed.
    fn prepare(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;

    /// What is timed and counted. After a failure nothing must be left of it.
    fn act(&mut self) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// What a crowd has done.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Seconds of each act, in ascending order.
    times: Vec<f64>,
    /// Seconds from the first act to the last.
    took: f64,
    pub(super) errors: Errors,
}

impl Done {
    /// Acts per second.
    pub(super) fn rate(&self) -> Option<f64> {
        (self.took > 0.0).then(|| self.times.len() as f64 / self.took)
    }

    /// What so many of a hundred acts did not exceed, `per_second` units in a second.
    pub(super) fn percentile(&self, percent: usize, per_second: f64) -> Option<f64> {
        Some(percentile(&self.times, percent)? * per_second)
    }
}

/// Lets `clients` act for `period`. An act that takes too long is an error.
pub(super) async fn run<C: Client>(clients: impl IntoIterator<Item = C>, period: Duration) -> Done {
    let started = Instant::now();
    let mut acting: JoinSet<_> = clients.into_iter().map(|client| repeat(client, started, period)).collect();
    let mut done = Done::default();
    while let Some(ended) = acting.join_next().await {
        match ended {
            Ok((times, errors)) => {
                done.times.extend(times);
                done.errors.add(errors);
            }
            Err(error) => done.errors.note(&error.into()),
        }
    }
    done.took = started.elapsed().as_secs_f64();
    done.times.sort_by(f64::total_cmp);
    done
}

async fn repeat<C: Client>(mut client: C, started: Instant, period: Duration) -> (Vec<f64>, Errors) {
    let (mut times, mut errors, mut in_a_row) = (Vec::new(), Errors::default(), 0);
    while started.elapsed() < period && in_a_row < ENOUGH {
        let outcome = timeout(LIMIT, async {
            client.prepare().await?;
            let began = Instant::now();
            client.act().await?;
            anyhow::Ok(began.elapsed().as_secs_f64())
        });
        match outcome.await.context("no answer in time").flatten() {
            Ok(time) => {
                times.push(time);
                in_a_row = 0;
            }
            Err(error) => {
                errors.note(&error);
                in_a_row += 1;
            }
        }
    }
    (times, errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fails every second time.
    struct Moody(u64);

    impl Client for Moody {
        async fn prepare(&mut self) -> anyhow::Result<()> {
            Ok(())
        }

        async fn act(&mut self) -> anyhow::Result<()> {
            self.0 += 1;
            tokio::task::yield_now().await;
            anyhow::ensure!(self.0.is_multiple_of(2), "not now");
            Ok(())
        }
    }

    /// Never succeeds.
    struct Broken;

    impl Client for Broken {
        async fn prepare(&mut self) -> anyhow::Result<()> {
            anyhow::bail!("broken")
        }

        async fn act(&mut self) -> anyhow::Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn what_failed_is_counted_and_not_timed() {
        let done = run([Moody(0), Moody(1)], Duration::from_millis(20)).await;
        assert!(done.rate().unwrap() > 0.0 && done.percentile(50, 1e6).is_some());
        assert_eq!(done.errors.first.as_deref(), Some("not now"));
    }

    #[tokio::test]
    async fn a_client_gives_up() {
        let done = run([Broken], Duration::from_secs(60)).await;
        assert_eq!((done.errors.count, done.percentile(50, 1.0)), (ENOUGH, None));
    }
}
