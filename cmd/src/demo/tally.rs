//! Who answered how many requests.

use std::{collections::BTreeMap, time::Duration};

use serde::Serialize;

use super::client::Answer;

/// The outcome of some requests. A worker that answered none is not in it unless it was [expected](Tally::of).
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(super) struct Tally {
    /// Answers by worker.
    pub(super) answered: BTreeMap<String, u64>,
    /// Requests without an answer.
    pub(super) failed: u64,
    /// Why the first of them failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) failure: Option<String>,
    /// The slowest answer.
    #[serde(rename = "slowest_ms", serialize_with = "milliseconds")]
    pub(super) slowest: Duration,
}

impl Tally {
    /// Nothing yet, of `workers`.
    pub(super) fn of<'a>(workers: impl IntoIterator<Item = &'a str>) -> Self {
        let answered = workers.into_iter().map(|worker| (worker.to_owned(), 0)).collect();
        Self { answered, ..Self::default() }
    }

    /// Counts one request.
    pub(super) fn count(&mut self, outcome: anyhow::Result<Answer>) {
        match outcome {
            Ok(answer) => {
                self.slowest = self.slowest.max(answer.took);
                *self.answered.entry(answer.worker).or_default() += 1;
            }
            Err(error) => {
                self.failed += 1;
                self.failure.get_or_insert_with(|| format!("{error:#}"));
            }
        }
    }

    /// What was counted so far; counting begins anew, of the same workers.
    pub(super) fn cut(&mut self) -> Self {
        let next = Self::of(self.answered.keys().map(String::as_str));
        std::mem::replace(self, next)
    }

    /// Answers in all.
    pub(super) fn total(&self) -> u64 {
        self.answered.values().sum()
    }

    /// # Errors
    /// A request failed; the first reason is told.
    pub(super) fn check(&self) -> anyhow::Result<()> {
        match &self.failure {
            None => Ok(()),
            Some(reason) => {
                let all = self.total() + self.failed;
                anyhow::bail!("{} of {all} requests failed, the first with: {reason}", self.failed)
            }
        }
    }
}

fn milliseconds<S: serde::Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(worker: &str, ms: u64) -> anyhow::Result<Answer> {
        Ok(Answer { worker: worker.to_owned(), took: Duration::from_millis(ms) })
    }

    #[test]
    fn counts_by_worker_and_keeps_the_first_failure() {
        let mut tally = Tally::of(["a", "b"]);
        tally.count(answer("a", 3));
        tally.count(answer("a", 9));
        tally.check().unwrap();
        tally.count(Err(anyhow::anyhow!("refused").context("GET /")));
        tally.count(Err(anyhow::anyhow!("reset")));
        assert_eq!(tally.answered, BTreeMap::from([("a".to_owned(), 2), ("b".to_owned(), 0)]));
        assert_eq!((tally.total(), tally.failed, tally.slowest), (2, 2, Duration::from_millis(9)));
        assert_eq!(tally.check().unwrap_err().to_string(), "2 of 4 requests failed, the first with: GET /: refused");
    }

    #[test]
    fn a_cut_begins_anew_with_the_same_workers() {
        let mut tally = Tally::of(["a", "b"]);
        tally.count(answer("a", 3));
        assert_eq!(tally.cut().total(), 1);
        assert_eq!(tally, Tally::of(["a", "b"]));
    }
}
