//! Many runs as JSON. The same runs give the same bytes.

use serde::Serialize;

use super::outcome::ScenarioOutcome;

/// Grows when a reader of the last version would misunderstand the next. New keys do not count.
const VERSION: u32 = 1;

/// The text of a document of all runs: the form of reports for machines.
pub fn to_json(scenarios: &[ScenarioOutcome]) -> String {
    #[derive(Serialize)]
    struct Document<'a> {
        version: u32,
        held: bool,
        scenarios: &'a [ScenarioOutcome],
    }

    let document = Document { version: VERSION, held: scenarios.iter().all(ScenarioOutcome::held), scenarios };
    serde_json::to_string_pretty(&document).expect("figures and text have a JSON form")
}

#[cfg(test)]
mod tests {
    use phase_scenario::Variant;

    use super::super::example::{report, run};
    use super::super::outcome::Outcome;
    use super::super::report::Report;
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
            file: Some("crowd.toml".to_owned()),
            hold: serde_json::from_str(r#"{"last": 1.5, "duplicates": 0.1}"#).unwrap(),
            outcomes: vec![held, broken_off],
        };
        assert_eq!(to_json(&[scenario]) + "\n", include_str!("document.json"));
    }
}
