//! What a program reads: one shape for every benchmark.

use serde::Serialize;

use crate::machine::Machine;

/// What `--json` prints.
#[derive(Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) figures: Vec<Figure>,
}

/// One measured number, of which less is better.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// Benchmark, what was measured, and the quantity, as in `capture.bulk_update.overhead_ratio`.
    name: String,
    value: f64,
    unit: &'static str,
    /// What the value is to stay at or under; `null` for a figure that is only watched.
    goal: Option<f64>,
    better: &'static str,
}

impl Figure {
    /// The value is rounded to `decimals`: more would only be noise.
    pub(crate) fn new(
        name: String,
        value: f64,
        decimals: i32,
        unit: &'static str,
        goal: Option<f64>,
    ) -> Self {
        let scale = 10_f64.powi(decimals);
        Self { name, value: (value * scale).round() / scale, unit, goal, better: "lower" }
    }
}
