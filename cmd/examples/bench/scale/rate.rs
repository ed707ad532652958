//! New connections, so many per second, however fast the last ones were served.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{Tunnels, Usage};
use crate::{
    exchange::{self, LIMIT},
    samples::percentile,
    taken::Errors,
};

/// Connections under way at once. At a thousand per second this is seconds of standstill; beyond it each that is due is
/// an error at once.
const UNDER_WAY: usize = 4096;

/// How often it is looked which connections are due: a fraction of what one takes.
const TICK: Duration = Duration::from_millis(1);

/// How long connections took, and how many failed.
pub(super) struct Outcome {
    rate: usize,
    took: f64,
    /// Milliseconds, in ascending order.
    times: Vec<f64>,
    before: Usage,
    after: Usage,
    errors: Errors,
}

pub(super) async fn run(tunnels: &Tunnels, rate: usize, period: Duration) -> anyhow::Result<Outcome> {
    let before = tunnels.usage()?;
    let mut listeners = tunnels.listeners.iter().copied().cycle();
    let (mut under_way, mut times, mut errors) = (JoinSet::new(), Vec::new(), Errors::default());
    let (started, mut begun) = (Instant::now(), 0);
    while started.elapsed() < period || !under_way.is_empty() {
        let due = (started.elapsed().min(period).as_secs_f64() * rate as f64) as u64;
        while begun < due {
            begun += 1;
            if under_way.len() >= UNDER_WAY {
                errors.note(&anyhow::anyhow!("{UNDER_WAY} connections are under way"));
            } else if let Some(listener) = listeners.next() {
                under_way.spawn(async move {
                    let began = Instant::now();
                    timeout(LIMIT, exchange::echo(listener)).await.context("no echo in time").flatten()?;
                    anyhow::Ok(began.elapsed().as_secs_f64() * 1e3)
                });
            }
        }
        while let Some(ended) = under_way.try_join_next() {
            match ended.map_err(anyhow::Error::from).flatten() {
                Ok(time) => times.push(time),
                Err(error) => errors.note(&error),
            }
        }
        sleep(TICK).await;
    }
    times.sort_by(f64::total_cmp);
    let took = started.elapsed().as_secs_f64();
    Ok(Outcome { rate, took, times, before, after: tunnels.usage()?, errors })
}

impl Outcome {
    /// None failed.
    pub(super) fn is_well(&self) -> bool {
        self.errors.count == 0
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rate, took, times, before, after, errors } = self;
        let [p50, p99] = [50, 99].map(|percent| percentile(times, percent).unwrap_or(f64::NAN));
        writeln!(
            f,
            "rate: {} connections served in {took:.0} s at {rate} per second, {} failed; p50 {p50:.2} ms, p99 {p99:.2} ms",
            times.len(),
            errors.count
        )?;
        if let Some(first) = &errors.first {
            writeln!(f, "  the first failure: {first}")?;
        }
        for (name, before, after) in [("front", before.front, after.front), ("worker", before.worker, after.worker)] {
            writeln!(
                f,
                "  {name:<7}{:.1} MiB before, {:.1} at the end; {:.2} s CPU",
                before.resident_mib,
                after.resident_mib,
                after.cpu_seconds - before.cpu_seconds
            )?;
        }
        Ok(())
    }
}
