//! Everything, for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::{Report, Run, bars::Outcome};
use crate::{figure::Figure, path::Path, samples::Summary, taken::Errors};

#[derive(Serialize)]
struct Document<'a> {
    #[serde(flatten)]
    run: &'a Run,
    errors: BTreeMap<&'static str, u64>,
    figures: Vec<FigureJson>,
    bars: Vec<Outcome>,
}

#[derive(Serialize)]
struct FigureJson {
    figure: &'static str,
    unit: &'static str,
    paths: BTreeMap<&'static str, PathJson>,
}

#[derive(Serialize)]
struct PathJson {
    #[serde(flatten)]
    value: Option<Summary>,
    rounds: Vec<Option<f64>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    added_to_direct: Option<Summary>,
    /// Ratios to the paths before it.
    of: BTreeMap<&'static str, Summary>,
    /// Told at the first figure of what was measured together.
    errors: Errors,
}

impl Report {
    /// Everything, indented.
    pub(crate) fn json(&self) -> serde_json::Result<String> {
        let figure_json = |figure: &Figure| {
            let paths = self.paths.iter().map(|&path| (path.name(), self.path_json(figure, path)));
            FigureJson { figure: figure.key, unit: figure.unit, paths: paths.collect() }
        };
        let document = Document {
            run: &self.run,
            errors: self.paths.iter().map(|&path| (path.name(), self.errors(path))).collect(),
            figures: self.figures.iter().map(figure_json).collect(),
            bars: self.outcomes(),
        };
        Ok(serde_json::to_string_pretty(&document)? + "\n")
    }

    fn path_json(&self, figure: &Figure, path: Path) -> PathJson {
        let before = self.paths.iter().filter(|other| **other < path);
        let of = before.filter_map(|&other| Some((other.name(), self.ratio(figure.key, path, other)?)));
        PathJson {
            value: self.measured(figure.key, path),
            rounds: self.rounds.get(&(figure.key, path)).cloned().unwrap_or_default(),
            added_to_direct: (figure.is_added && path != Path::Direct).then(|| self.added(figure.key, path)).flatten(),
            of: of.collect(),
            errors: self.errors.get(&(figure.key, path)).cloned().unwrap_or_default(),
        }
    }
}
