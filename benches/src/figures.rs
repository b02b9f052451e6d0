//! What a program reads: one shape for every benchmark.

use serde::Serialize;

use crate::machine::Machine;

/// What `--json` prints.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) figures: Vec<Figure>,
}

/// Which way a value improves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Better {
    Lower,
    Higher,
}

/// One measured number.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// Benchmark, what was measured, and the quantity, as in `capture.bulk_update.overhead_ratio`.
    name: String,
    value: f64,
    unit: &'static str,
    /// What the value is to stay at or under, or at or over if more is better; `null` for a figure that is only watched.
    goal: Option<f64>,
    better: Better,
}

impl Figure {
    /// Of which less is better. The value is rounded to `decimals`: more would only be noise.
    pub(crate) fn new(
        name: String,
        value: f64,
        decimals: i32,
        unit: &'static str,
        goal: Option<f64>,
    ) -> Self {
        let scale = 10_f64.powi(decimals);
        Self { name, value: (value * scale).round() / scale, unit, goal, better: Better::Lower }
    }

    /// The same of which more is better.
    pub(crate) fn more_is_better(self) -> Self {
        Self { better: Better::Higher, ..self }
    }
}
