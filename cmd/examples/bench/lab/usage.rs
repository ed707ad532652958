//! What processes use, as Linux tells it in `/proc`.

use std::collections::BTreeMap;

use anyhow::Context;
use rustix::{param::clock_ticks_per_second, process::Pid};

/// A process and all that it has started and that still run, itself first.
pub(crate) fn family(first: Pid) -> anyhow::Result<Vec<Pid>> {
    let mut children = BTreeMap::<_, Vec<_>>::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else { continue };
        // One that ended since it was listed has no parent any more.
        if let Ok(stat) = Stat::of(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut family = vec![first];
    let mut next = 0;
    while let Some(&pid) = family.get(next) {
        family.extend(children.get(&pid.as_raw_nonzero().get()).into_iter().flatten());
        next += 1;
    }
    Ok(family)
}

/// Seconds on a core, in user and system mode, of a process with all its threads and the children that it has waited for.
pub(crate) fn cpu_seconds(pid: Pid) -> anyhow::Result<f64> {
    Ok(Stat::of(pid)?.ticks as f64 / clock_ticks_per_second() as f64)
}

/// Bytes of a process in memory.
pub(crate) fn resident(pid: Pid) -> anyhow::Result<u64> {
    // The sum here is exact, the one in `status` is not: the kernel counts per core there.
    let rollup = read(pid, "smaps_rollup")?;
    parse_resident(&rollup).with_context(|| format!("no Rss in {rollup:?}"))
}

fn parse_resident(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

/// What is of interest in `/proc/PID/stat`.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: i32,
    ticks: u64,
}

impl Stat {
    fn of(pid: Pid) -> anyhow::Result<Self> {
        let stat = read(pid, "stat")?;
        Self::parse(&stat).with_context(|| format!("cannot read {stat:?}"))
    }

    /// The second field, the name in parentheses, may hold spaces and parentheses. After it come the state (3), the parent
    /// (4), and at 14 to 17 the time in user and system mode, of the process and of its children.
    fn parse(stat: &str) -> Option<Self> {
        let fields: Vec<_> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = (14..=17).map(field).sum::<Option<u64>>()?;
        Some(Self { parent: field(4)?.try_into().ok()?, ticks })
    }
}

fn read(pid: Pid, file: &str) -> anyhow::Result<String> {
    let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_moves_no_field() {
        let stat = "17 (a) S (b) c) S 4 17 17 0 -1 4194560 1 2 3 4 100 20 3 0 20 0 1 0 5 6 7";
        assert_eq!(Stat::parse(stat), Some(Stat { parent: 4, ticks: 123 }));
        assert_eq!(Stat::parse("17 (a) S 4"), None);
    }

    #[test]
    fn memory_is_told_in_kibibytes() {
        assert_eq!(parse_resident("00-ff ---p 0 [rollup]\nRss:            2048 kB\nPss: 1 kB\n"), Some(2 << 20));
        assert_eq!(parse_resident("Pss: 1 kB\n"), None);
    }

    #[test]
    fn this_process_is_of_its_own_family_and_uses_something() {
        let own = rustix::process::getpid();
        assert_eq!(family(own).unwrap().first(), Some(&own));
        assert!(resident(own).unwrap() > 0);
        assert!(cpu_seconds(own).unwrap() >= 0.0);
    }
}
