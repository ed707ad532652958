//! What one measurement gave.

/// Numbers, and what went wrong.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// A value for each of the measurement's figures; none, or fewer, where an error prevented it.
    pub(super) values: Vec<Option<f64>>,
    /// What went wrong.
    pub(super) errors: Errors,
}

/// How often something went wrong, and what first.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct Errors {
    /// How often.
    pub(super) count: u64,
    /// What first.
    pub(super) first: Option<String>,
}

impl Errors {
    /// Counts one.
    pub(super) fn note(&mut self, error: &anyhow::Error) {
        self.count += 1;
        self.first.get_or_insert_with(|| format!("{error:#}"));
    }

    /// Counts all of `others`.
    pub(super) fn add(&mut self, others: Self) {
        self.count += others.count;
        self.first = self.first.take().or(others.first);
    }
}

impl From<anyhow::Result<Vec<Option<f64>>>> for Taken {
    fn from(result: anyhow::Result<Vec<Option<f64>>>) -> Self {
        match result {
            Ok(values) => Self { values, errors: Errors::default() },
            Err(error) => {
                let mut taken = Self::default();
                taken.errors.note(&error);
                taken
            }
        }
    }
}
