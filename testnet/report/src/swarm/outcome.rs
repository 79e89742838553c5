//! Runs, and whether they did what was promised.

use std::time::Duration;

use phase_scenario::{Hold, Variant};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::report::Report;

/// The runs of one scenario file, or of a scenario from the command line.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioOutcome {
    /// Its name.
    pub name: String,
    /// One line for people; may be empty.
    pub about: String,
    /// The file, if it comes from one.
    pub file: Option<String>,
    /// What was promised.
    #[serde(rename = "promised")]
    pub hold: Hold,
    /// Its runs, in order.
    #[serde(rename = "runs")]
    pub outcomes: Vec<Outcome>,
}

/// A run, those that it is compared with, and what did not hold.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The run.
    pub run: Run,
    /// The same without members who do harm, or without what happens to nodes, as far as that was asked for.
    pub compared: Vec<Run>,
    /// What did not hold, one sentence each.
    pub broken: Vec<String>,
}

/// One run. Label, RNG seed and variant name it.
#[derive(Clone, Debug)]
pub struct Run {
    /// Of which scenario, and with how many clients.
    pub label: String,
    /// The RNG seed.
    pub seed: u64,
    /// What of the scenario was run.
    pub variant: Variant,
    /// The outcome, or with which words the simulation broke off: a bug.
    pub result: Result<Report, String>,
    /// How long it took in real time. No part of the report, which is the same each time.
    pub wall: Duration,
}

impl Outcome {
    /// Compares a run with what was promised: `judge` says what did not hold, one sentence each.
    pub fn new(run: Run, compared: Vec<Run>, judge: impl FnOnce(&Report, &Self) -> Vec<String>) -> Self {
        let outcome = Self { run, compared, broken: Vec::new() };
        let mut broken = outcome.run.result.as_ref().map_or(Vec::new(), |report| judge(report, &outcome));
        let failures =
            std::iter::once(&outcome.run).chain(&outcome.compared).filter_map(|run| run.result.as_ref().err());
        broken.extend(failures.map(|words| format!("the simulation broke off: {words}")));
        Self { broken, ..outcome }
    }

    /// Whether all did hold.
    pub fn held(&self) -> bool {
        self.broken.is_empty()
    }

    /// The report of a run that it is compared with.
    pub fn other(&self, variant: Variant) -> Option<&Report> {
        self.compared.iter().find(|run| run.variant == variant)?.result.as_ref().ok()
    }
}

/// The run, whether all did hold, and the reports that it is compared with, each under the name of its variant.
impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut entries = serializer.serialize_map(None)?;
        entries.serialize_entry("label", &self.run.label)?;
        entries.serialize_entry("rng_seed", &self.run.seed)?;
        entries.serialize_entry("held", &self.held())?;
        entries.serialize_entry("broken", &self.broken)?;
        entries.serialize_entry("report", &self.run.result.as_ref().ok())?;
        for (name, variant) in [("honest", Variant::Honest), ("undisturbed", Variant::Undisturbed)] {
            if let Some(report) = self.other(variant) {
                entries.serialize_entry(name, report)?;
            }
        }
        entries.end()
    }
}

impl ScenarioOutcome {
    /// Whether all did hold in all runs.
    pub fn held(&self) -> bool {
        self.outcomes.iter().all(Outcome::held)
    }
}
