//! What is to be run, and in which order.

use std::path::PathBuf;

use phase_report::swarm::Run;
use phase_scenario::{Case, Hold, Scenario, ScenarioFile, Variant};

use super::runner::Job;
use crate::cli::keep_label;

/// The name of what is described by options.
const UNNAMED: &str = "swarm";

/// What options describe, as a file that is nowhere.
pub(super) fn of_options(scenario: Scenario) -> ScenarioFile {
    ScenarioFile {
        path: PathBuf::new(),
        name: UNNAMED.to_owned(),
        about: String::new(),
        text: String::new(),
        hold: Hold::default(),
        cases: vec![Case { label: UNNAMED.to_owned(), scenario }],
    }
}

/// Each case of a file, followed by what it is to be compared with.
pub(super) fn jobs(file: &ScenarioFile) -> impl Iterator<Item = Job> + '_ {
    file.cases.iter().flat_map(|case| {
        let compared = file.hold.comparisons().into_iter().map(|(variant, _)| variant);
        std::iter::once(Variant::Whole).chain(compared).map(|variant| Job {
            label: case.label.clone(),
            variant,
            scenario: case.scenario.variant(variant),
        })
    })
}

/// The command that does a run again: one of a file, or of what options describe.
pub(super) fn replay(file: Option<&str>, run: &Run, check: bool) -> String {
    let words: Vec<String> = match file {
        Some(file) => {
            let seed = run.seed.to_string();
            let words = ["sim", file, "--only", &run.label, "--seed", &seed].into_iter();
            words.chain(check.then_some("--check")).map(str::to_owned).collect()
        }
        None => std::env::args().skip(1).collect(),
    };
    let words = words.iter().map(|word| quoted(word));
    std::iter::once("phase-testnet".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
}

/// Keeps what was asked for: of all runs those with a label, each with one RNG seed.
///
/// # Errors
/// If two files have the same name, or nothing has the label.
pub(super) fn select(
    mut files: Vec<ScenarioFile>,
    only: Option<&str>,
    seed: Option<u64>,
) -> Result<Vec<ScenarioFile>, String> {
    for (number, file) in files.iter().enumerate() {
        if files[..number].iter().any(|other| other.name == file.name) {
            return Err(format!("two scenario files are named {}: run one after the other", file.name));
        }
    }
    if let Some(seed) = seed {
        for file in &mut files {
            file.cases.dedup_by(|one, other| one.label == other.label);
            file.cases.iter_mut().for_each(|case| case.scenario.rng_seed = seed);
        }
    }
    let Some(only) = only else { return Ok(files) };
    let mut labels: Vec<_> = files.iter().flat_map(|file| &file.cases).map(|case| case.label.clone()).collect();
    labels.dedup();
    match keep_label(&mut files, only) {
        true => Ok(files),
        false => Err(format!("nothing has the label {only:?}; there is {}", labels.join(", "))),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+%".contains(c);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use phase_scenario::Engine;

    use super::*;

    fn file(text: &str) -> ScenarioFile {
        ScenarioFile::parse(Path::new("a/crowd.toml"), text, Engine::Simulator).unwrap()
    }

    #[test]
    fn a_seed_replaces_those_of_the_file() {
        let swept = "rng_seeds = [1, 2]\n[clients]\ncount = [4, 8]";
        let files = select(vec![file(swept)], None, Some(9)).unwrap();
        let runs: Vec<_> = files[0].cases.iter().map(|case| (case.label.as_str(), case.scenario.rng_seed)).collect();
        assert_eq!(runs, [("crowd-4", 9), ("crowd-8", 9)]);
    }

    #[test]
    fn a_label_picks_the_runs_that_have_it() {
        let swept = || vec![file("rng_seeds = [1, 2]\n[clients]\ncount = [4, 8]")];
        let files = select(swept(), Some("crowd-8"), None).unwrap();
        assert!(files[0].cases.iter().all(|case| case.scenario.clients.count == 8));
        assert_eq!(files[0].cases.len(), 2);
        let error = select(swept(), Some("crowd"), None).err().unwrap();
        assert_eq!(error, "nothing has the label \"crowd\"; there is crowd-4, crowd-8");
    }

    #[test]
    fn files_of_one_name_are_not_told_apart() {
        assert!(select(vec![file(""), file("")], None, None).is_err());
    }

    #[test]
    fn words_survive_a_shell() {
        for (word, text) in [("a/b-1.toml", "a/b-1.toml"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'")] {
            assert_eq!(quoted(word), text);
        }
    }
}
