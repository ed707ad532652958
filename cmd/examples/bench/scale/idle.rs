//! Tunnels in which nothing moves.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{Side, Tunnels, Usage, wait};
use crate::{herd::Herd, taken::Errors};

/// What idle tunnels cost, and whether they live.
pub(super) struct Outcome {
    wanted: usize,
    connected: usize,
    alive: usize,
    /// Seconds.
    opening: f64,
    quiet: Duration,
    before: Usage,
    opened: Usage,
    after: Usage,
    errors: Errors,
}

pub(super) async fn run(tunnels: &Tunnels, count: usize, quiet: Duration) -> anyhow::Result<Outcome> {
    let before = tunnels.usage()?;
    let started = Instant::now();
    let mut herd = Herd::open(&tunnels.listeners, count).await;
    let opening = started.elapsed().as_secs_f64();
    let opened = tunnels.usage()?;
    wait("idle", quiet).await?;
    let after = tunnels.usage()?;
    let alive = herd.alive().await;
    let errors = std::mem::take(&mut herd.errors);
    Ok(Outcome { wanted: count, connected: herd.opened(), alive, opening, quiet, before, opened, after, errors })
}

impl Outcome {
    /// All were opened and all live.
    pub(super) fn is_well(&self) -> bool {
        self.alive == self.wanted
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, connected, alive, opening, quiet, before, opened, after, errors } = self;
        writeln!(f, "idle: {alive} of {wanted} alive after {:.0} s, opened in {opening:.1} s", quiet.as_secs_f64())?;
        if let Some(first) = &errors.first {
            writeln!(f, "  {} could not be opened, the first: {first}", errors.count)?;
        }
        for (name, [before, opened, after]) in [
            ("front", [before.front, opened.front, after.front]),
            ("worker", [before.worker, opened.worker, after.worker]),
        ] {
            let cpu = after.cpu_seconds - opened.cpu_seconds;
            let [before, opened, after] = [before, opened, after].map(|side: Side| side.resident_mib);
            let each = (opened - before) * 1024.0 / *connected.max(&1) as f64;
            writeln!(
                f,
                "  {name:<7}{before:.1} MiB before, {opened:.1} opened ({each:.1} KiB each), {after:.1} at the end; \
                 {cpu:.2} s CPU while quiet"
            )?;
        }
        Ok(())
    }
}
