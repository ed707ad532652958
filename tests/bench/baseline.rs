//! What was counted once, and how a new count compares.

use std::{fmt, str::FromStr};

use anyhow::Context;

/// By how many percent a count may differ. Two counts of one binary differ by far less; the rest is room for what a
/// change elsewhere does to inlining.
const TOLERANCE: u64 = 5;

/// Begins the line that names the platform.
const PLATFORM: &str = "platform ";

/// The counts of all workloads on one platform.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Baseline {
    pub(super) platform: String,
    /// Workloads and their instructions.
    pub(super) counts: Vec<(String, u64)>,
}

/// A count beside the baseline's.
#[derive(Debug)]
pub(super) struct Comparison<'a> {
    baseline: &'a Baseline,
    counted: &'a Baseline,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Verdict {
    Same,
    Less,
    More,
    /// One of the two has no such workload.
    Alone,
    /// Not of one platform.
    Apart,
}

impl Baseline {
    fn get(&self, workload: &str) -> Option<u64> {
        self.counts.iter().find(|(name, _)| name == workload).map(|(_, count)| *count)
    }
}

impl FromStr for Baseline {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut baseline = Self::default();
        for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
            if let Some(platform) = line.strip_prefix(PLATFORM) {
                platform.clone_into(&mut baseline.platform);
                continue;
            }
            let count =
                line.split_once(' ').and_then(|(name, count)| Some((name.to_owned(), count.trim().parse().ok()?)));
            baseline.counts.push(count.with_context(|| format!("{line:?} is not a workload and its instructions"))?);
        }
        Ok(baseline)
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "# The instructions of one round of each workload, written by `make instructions-record`.")?;
        writeln!(f, "# docs/testing.md says when to write it anew, and when not to.")?;
        writeln!(f, "{PLATFORM}{}", self.platform)?;
        self.counts.iter().try_for_each(|(name, count)| writeln!(f, "{name:<20} {count:>12}"))
    }
}

// === impl Comparison ===

impl<'a> Comparison<'a> {
    pub(super) fn of(baseline: &'a Baseline, counted: &'a Baseline) -> Self {
        Self { baseline, counted }
    }

    /// Whether no workload takes more than it may, and the baseline has them all and no others. Between two platforms
    /// nothing can be said against a count.
    pub(super) fn is_good(&self) -> bool {
        self.lines().all(|(.., verdict)| !matches!(verdict, Verdict::More | Verdict::Alone))
    }

    /// Every workload of either side: its name, the baseline's count, the new one, and what to think of them.
    fn lines(&self) -> impl Iterator<Item = (&'a str, Option<u64>, Option<u64>, Verdict)> {
        let counted = self.counted.counts.iter().map(|(name, _)| name);
        let gone = self.baseline.counts.iter().map(|(name, _)| name).filter(|name| self.counted.get(name).is_none());
        counted.chain(gone).map(|name| {
            let (before, now) = (self.baseline.get(name), self.counted.get(name));
            let verdict = match before.zip(now) {
                None => Verdict::Alone,
                _ if self.baseline.platform != self.counted.platform => Verdict::Apart,
                Some((before, now)) if now.saturating_mul(100) > before.saturating_mul(100 + TOLERANCE) => {
                    Verdict::More
                }
                Some((before, now)) if now.saturating_mul(100) < before.saturating_mul(100 - TOLERANCE) => {
                    Verdict::Less
                }
                Some(_) => Verdict::Same,
            };
            (name.as_str(), before, now, verdict)
        })
    }
}

/// In percent of `before`.
fn change(before: u64, now: u64) -> f64 {
    (now as f64 / before as f64 - 1.0) * 100.0
}

impl fmt::Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<20} {:>12} {:>12} {:>9}", "instructions", "baseline", "now", "change")?;
        let cell = |count: Option<u64>| count.map_or_else(|| "–".to_owned(), |count| count.to_string());
        for (name, before, now, verdict) in self.lines() {
            let change =
                before.zip(now).map_or_else(String::new, |(before, now)| format!("{:+.2} %", change(before, now)));
            let remark = match verdict {
                Verdict::Same | Verdict::Apart => "",
                Verdict::Less => "  less",
                Verdict::More => "  MORE",
                Verdict::Alone if now.is_none() => "  NO SUCH WORKLOAD",
                Verdict::Alone => "  NOT IN THE BASELINE",
            };
            let line = format!("{name:<20} {:>12} {:>12} {change:>9}{remark}", cell(before), cell(now));
            writeln!(f, "{}", line.trim_end())?;
        }
        let any = |wanted| self.lines().any(|(.., verdict)| verdict == wanted);
        if any(Verdict::Apart) {
            let (before, now) = (&self.baseline.platform, &self.counted.platform);
            writeln!(f, "\nNOTHING IS COMPARED: the baseline is of {before:?}, this machine is {now:?}.")?;
        }
        if any(Verdict::More) {
            writeln!(f, "\nFAILED: more than {TOLERANCE} % above the baseline. docs/testing.md says what to do.")?;
        }
        if any(Verdict::Alone) {
            writeln!(f, "\nFAILED: the workloads are not those of the baseline: `make instructions-record`.")?;
        }
        if any(Verdict::Less) {
            writeln!(f, "\nMore than {TOLERANCE} % below the baseline: keep it with `make instructions-record`.")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn baseline(platform: &str, counts: &[(&str, u64)]) -> Baseline {
        let counts = counts.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
        Baseline { platform: platform.to_owned(), counts }
    }

    #[test]
    fn a_baseline_reads_as_it_is_written() {
        let written = baseline("x86_64 avx2", &[("pick/random/3", 1234), ("header", 5)]);
        assert_eq!(written.to_string().parse::<Baseline>().unwrap(), written);
        for line in ["header", "header x", "header -1"] {
            let error = line.parse::<Baseline>().unwrap_err();
            assert!(error.to_string().contains(line), "{error}");
        }
    }

    #[test]
    fn a_twentieth_more_is_good_and_what_is_above_fails_by_name() {
        let before = baseline("x86_64", &[("a", 1000), ("b", 1000)]);
        let good = baseline("x86_64", &[("a", 1050), ("b", 950)]);
        let comparison = Comparison::of(&before, &good);
        assert!(comparison.is_good());
        assert_eq!(comparison.to_string().lines().count(), 3, "nothing to say but the table");

        let bad = baseline("x86_64", &[("a", 1051), ("b", 1000)]);
        let comparison = Comparison::of(&before, &bad);
        assert!(!comparison.is_good());
        let text = comparison.to_string();
        assert!(text.lines().any(|line| line.starts_with('a') && line.ends_with("MORE")), "{text}");
        assert!(text.contains("FAILED"), "{text}");
    }

    #[test]
    fn much_less_is_good_and_to_be_recorded() {
        let (before, now) = (baseline("x86_64", &[("a", 1000)]), baseline("x86_64", &[("a", 949)]));
        let comparison = Comparison::of(&before, &now);
        assert!(comparison.is_good());
        assert!(comparison.to_string().contains("make instructions-record"));
    }

    #[test]
    fn a_workload_without_its_like_fails() {
        let (one, two) = (baseline("x86_64", &[("a", 1)]), baseline("x86_64", &[("a", 1), ("b", 1)]));
        for (before, now) in [(&one, &two), (&two, &one)] {
            let comparison = Comparison::of(before, now);
            assert!(!comparison.is_good());
            assert!(comparison.to_string().contains("make instructions-record"));
        }
    }

    #[test]
    fn two_platforms_are_not_compared_and_it_says_so() {
        let (before, now) = (baseline("x86_64 avx2", &[("a", 1)]), baseline("x86_64", &[("a", 9)]));
        let comparison = Comparison::of(&before, &now);
        assert!(comparison.is_good());
        assert!(comparison.to_string().contains("NOTHING IS COMPARED"));
    }
}
