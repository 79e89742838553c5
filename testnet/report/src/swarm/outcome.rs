//! Runs, and whether they did what was promised.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::report::Report;

/// What a scenario promises of its runs.
pub trait Promise {
    /// What is promised as a time in T_min, with the share of the clients that must have finished by then:
    /// `("p50", 0.5, 1.15)`.
    fn deadlines(&self) -> Vec<(&'static str, f64, f64)>;

    /// What is promised of the last client's time, as a multiple of that in another run.
    fn comparisons(&self) -> Vec<(Variant, f64)>;

    /// What did not hold, one sentence each. `other` gives the runs to compare with.
    fn broken<'a>(&self, report: &Report, other: impl Fn(Variant) -> Option<&'a Report>) -> Vec<String>;
}

/// The runs of one scenario file, or of a scenario from the command line.
#[derive(Clone, Debug)]
pub struct ScenarioOutcome<P> {
    /// Its name.
    pub name: String,
    /// One line for people; may be empty.
    pub about: String,
    /// The file, if it comes from one.
    pub path: Option<PathBuf>,
    /// What was promised.
    pub hold: P,
    /// Its runs, in order.
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

/// What of a scenario is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// All of it.
    Whole,
    /// All but the members who do harm.
    Honest,
    /// All but churn and events.
    Undisturbed,
}

impl Outcome {
    /// Holds a run against what was promised.
    pub fn new(run: Run, compared: Vec<Run>, hold: &impl Promise) -> Self {
        let other = |variant| report_of(&compared, variant);
        let mut broken = Vec::new();
        if let Ok(report) = &run.result {
            broken.extend(hold.broken(report, other));
        }
        for run in std::iter::once(&run).chain(&compared) {
            broken.extend(run.result.as_ref().err().map(|words| format!("the simulation broke off: {words}")));
        }
        Self { run, compared, broken }
    }

    /// Whether all did hold.
    pub fn held(&self) -> bool {
        self.broken.is_empty()
    }

    /// The report of a run that it is compared with.
    pub(super) fn other(&self, variant: Variant) -> Option<&Report> {
        report_of(&self.compared, variant)
    }
}

fn report_of(runs: &[Run], variant: Variant) -> Option<&Report> {
    runs.iter().find(|run| run.variant == variant)?.result.as_ref().ok()
}

impl<P> ScenarioOutcome<P> {
    /// Whether all did hold in all runs.
    pub fn held(&self) -> bool {
        self.outcomes.iter().all(Outcome::held)
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Whole => "as it is",
            Self::Honest => "without hostile members",
            Self::Undisturbed => "undisturbed",
        })
    }
}
