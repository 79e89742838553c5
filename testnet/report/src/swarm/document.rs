//! Many runs as JSON. The same runs give the same bytes.

use phase_scenario::{Hold, Variant};
use serde::Serialize;

use super::outcome::{Outcome, ScenarioOutcome};
use super::report::Report;

/// Grows when a reader of the last version would misunderstand the next. New keys do not count.
const VERSION: u32 = 1;

/// The form of reports for machines.
#[derive(Debug, Serialize)]
pub struct Document<'a> {
    version: u32,
    held: bool,
    scenarios: Vec<Scenario<'a>>,
}

#[derive(Debug, Serialize)]
struct Scenario<'a> {
    name: &'a str,
    about: &'a str,
    file: Option<String>,
    promised: &'a Hold,
    runs: Vec<Entry<'a>>,
}

#[derive(Debug, Serialize)]
struct Entry<'a> {
    label: &'a str,
    rng_seed: u64,
    held: bool,
    broken: &'a [String],
    report: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    honest: Option<&'a Report>,
    #[serde(skip_serializing_if = "Option::is_none")]
    undisturbed: Option<&'a Report>,
}

impl<'a> Document<'a> {
    /// A document of all runs.
    pub fn new(scenarios: &'a [ScenarioOutcome]) -> Self {
        Self {
            version: VERSION,
            held: scenarios.iter().all(ScenarioOutcome::held),
            scenarios: scenarios.iter().map(Scenario::new).collect(),
        }
    }

    /// Its text.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("figures and text have a JSON form")
    }
}

impl<'a> Scenario<'a> {
    fn new(outcome: &'a ScenarioOutcome) -> Self {
        Self {
            name: &outcome.name,
            about: &outcome.about,
            file: outcome.path.as_ref().map(|path| path.to_string_lossy().into_owned()),
            promised: &outcome.hold,
            runs: outcome.outcomes.iter().map(Entry::new).collect(),
        }
    }
}

impl<'a> Entry<'a> {
    fn new(outcome: &'a Outcome) -> Self {
        Self {
            label: &outcome.run.label,
            rng_seed: outcome.run.seed,
            held: outcome.held(),
            broken: &outcome.broken,
            report: outcome.run.result.as_ref().ok(),
            honest: outcome.other(Variant::Honest),
            undisturbed: outcome.other(Variant::Undisturbed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{report, run};
    use super::*;

    #[test]
    fn the_form_of_a_document_is_kept() {
        let short = || Report { finish_times: vec![11.0, 15.0], samples: report().samples[..1].to_vec(), ..report() };
        let compared = vec![run(Variant::Honest, Ok(short()))];
        let held = Outcome::new(run(Variant::Whole, Ok(short())), compared, |_, _| Vec::new());
        let broken_off = Outcome::new(run(Variant::Whole, Err("a bug".to_owned())), Vec::new(), |_, _| Vec::new());
        let scenario = ScenarioOutcome {
            name: "crowd".to_owned(),
            about: "Many clients".to_owned(),
            path: Some("crowd.toml".into()),
            hold: serde_json::from_str(r#"{"last": 1.5, "duplicates": 0.1}"#).unwrap(),
            outcomes: vec![held, broken_off],
        };
        assert_eq!(Document::new(&[scenario]).to_json() + "\n", include_str!("document.json"));
    }
}
