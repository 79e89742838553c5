//! The JSON form of many runs. The same runs give the same bytes.

use serde::Serialize;

use super::outcome::ScenarioOutcome;

/// The version of the JSON form of a report. Every incompatible change increases the version. A new key is a compatible
/// change.
const VERSION: u32 = 1;

/// Returns the text of `report.json`, which contains all runs of all scenarios.
pub fn to_json(scenarios: &[ScenarioOutcome]) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        version: u32,
        held: bool,
        scenarios: &'a [ScenarioOutcome],
    }

    let document = Document { version: VERSION, held: scenarios.iter().all(ScenarioOutcome::held), scenarios };
    serde_json::to_string_pretty(&document).expect("numbers and texts always have a JSON form")
}

#[cfg(test)]
mod tests {
    use phase_scenario::Variant;

    use super::super::example::{report, run};
    use super::super::outcome::Outcome;
    use super::super::report::Report;
    use super::*;

    #[test]
    fn the_json_form_of_a_report_is_stable() {
        let short = || Report { finish_times: vec![11.0, 15.0], samples: report().samples[..1].to_vec(), ..report() };
        let compared = vec![run(Variant::Honest, Ok(short()))];
        let held = Outcome::new(run(Variant::Whole, Ok(short())), compared, |_, _| Vec::new());
        let broken_off = Outcome::new(run(Variant::Whole, Err("a bug".to_owned())), Vec::new(), |_, _| Vec::new());
        let scenario = ScenarioOutcome {
            name: "crowd".to_owned(),
            about: "Many clients".to_owned(),
            file: Some("crowd.toml".to_owned()),
            hold: serde_json::from_str(r#"{"last": 1.5, "duplicates": 0.1}"#).unwrap(),
            outcomes: vec![held, broken_off],
        };
        assert_eq!(to_json(&[scenario]) + "\n", include_str!("document.json"));
    }
}
