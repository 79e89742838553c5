//! The runs of scenarios, and the promises that they broke.

use std::time::Duration;

use phase_scenario::{Hold, Variant};
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

use super::report::Report;

/// The runs of one scenario file, or of a scenario from the command line.
#[derive(Clone, Debug, Serialize)]
pub struct ScenarioOutcome {
    /// The name of the scenario.
    pub name: String,
    /// A one-line description of the scenario, possibly empty.
    pub about: String,
    /// The path of the scenario file; `None` if options described the scenario.
    pub file: Option<String>,
    /// The promises of the scenario, with which the figures of each run are compared.
    #[serde(rename = "promised")]
    pub hold: Hold,
    /// The outcomes of all runs, in the order of the runs in the scenario file.
    #[serde(rename = "runs")]
    pub outcomes: Vec<Outcome>,
}

/// A run, the runs with which it is compared, and its broken promises.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The run of the scenario as written.
    pub run: Run,
    /// The runs of other variants of the scenario. Some promises compare `run` with them.
    pub compared: Vec<Run>,
    /// One message for each broken promise and each simulation that broke off.
    pub broken: Vec<String>,
}

/// One run, identified by its label, RNG seed and variant.
#[derive(Clone, Debug)]
pub struct Run {
    /// The name of the run, such as `flash-crowd-1000`: the name of the scenario, followed by the number of seeds or
    /// clients if the file lists several numbers.
    pub label: String,
    /// The RNG seed of the run.
    pub seed: u64,
    /// The variant of the scenario that was run.
    pub variant: Variant,
    /// The report, or an error message if the simulation broke off. Only a bug makes a simulation break off.
    pub result: Result<Report, String>,
    /// The real time that the run took. It is not part of the report, because it differs each time.
    pub wall: Duration,
}

impl Outcome {
    /// Makes the outcome of a run. `compared` are the runs of other variants. `judge` returns one message for each
    /// broken promise.
    pub fn new(run: Run, compared: Vec<Run>, judge: impl FnOnce(&Report, &Self) -> Vec<String>) -> Self {
        let outcome = Self { run, compared, broken: Vec::new() };
        let mut broken = outcome.run.result.as_ref().map_or(Vec::new(), |report| judge(report, &outcome));
        let failures =
            std::iter::once(&outcome.run).chain(&outcome.compared).filter_map(|run| run.result.as_ref().err());
        broken.extend(failures.map(|words| format!("the simulation broke off: {words}")));
        Self { broken, ..outcome }
    }

    /// Whether the run kept all promises and no simulation broke off.
    pub fn held(&self) -> bool {
        self.broken.is_empty()
    }

    /// Returns the report of the given variant. `None` if this variant was not run for comparison, or if its simulation
    /// broke off.
    pub fn other(&self, variant: Variant) -> Option<&Report> {
        self.compared.iter().find(|run| run.variant == variant)?.result.as_ref().ok()
    }
}

/// Writes the run, its broken promises, and the reports of other variants. The key of such a report is the name of its
/// variant, for instance `honest`.
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
    /// Whether all runs kept all promises and no simulation broke off.
    pub fn held(&self) -> bool {
        self.outcomes.iter().all(Outcome::held)
    }
}
