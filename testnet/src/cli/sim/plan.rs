//! Selects the runs, and makes the jobs of each run: one job for the run, and one for each variant with which it is
//! compared.

use std::path::PathBuf;

use phase_report::swarm::Run;
use phase_scenario::{Case, Hold, Scenario, ScenarioFile, Variant};

use super::runner::Job;
use crate::cli::keep_label;

/// The name of the scenario that options describe.
const UNNAMED: &str = "swarm";

/// Converts the scenario that options describe to a [`ScenarioFile`] without a path.
pub(super) fn from_options(scenario: Scenario) -> ScenarioFile {
    ScenarioFile {
        path: PathBuf::new(),
        name: UNNAMED.to_owned(),
        about: String::new(),
        text: String::new(),
        hold: Hold::default(),
        cases: vec![Case { label: UNNAMED.to_owned(), scenario }],
    }
}

/// Returns the jobs for all cases of a file. The job of a case is followed by the jobs for the variants with which the
/// case is compared.
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

/// Returns the command that repeats a run. If `file` is `None`, returns the current command, because its options
/// describe the scenario.
pub(super) fn replay_command(file: Option<&str>, run: &Run, check: bool) -> String {
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

/// If `only` is given, keeps only the runs with this label. If `seed` is given, keeps one run for each label, and sets
/// its RNG seed to `seed`.
///
/// # Errors
/// If two files have the same name, or if no run has the label `only`.
pub(super) fn select(
    mut files: Vec<ScenarioFile>,
    only: Option<&str>,
    seed: Option<u64>,
) -> Result<Vec<ScenarioFile>, String> {
    for (number, file) in files.iter().enumerate() {
        if files[..number].iter().any(|other| other.name == file.name) {
            return Err(format!("two scenario files have the name {}: run them one after the other", file.name));
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
        false => Err(format!("no run has the label {only:?}; the labels are {}", labels.join(", "))),
    }
}

/// Quotes a word for a shell, if necessary.
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
    fn an_rng_seed_replaces_those_of_the_file() {
        let swept = "rng_seeds = [1, 2]\n[clients]\ncount = [4, 8]";
        let files = select(vec![file(swept)], None, Some(9)).unwrap();
        let runs: Vec<_> = files[0].cases.iter().map(|case| (case.label.as_str(), case.scenario.rng_seed)).collect();
        assert_eq!(runs, [("crowd-4", 9), ("crowd-8", 9)]);
    }

    #[test]
    fn a_label_selects_the_runs_that_have_it() {
        let swept = || vec![file("rng_seeds = [1, 2]\n[clients]\ncount = [4, 8]")];
        let files = select(swept(), Some("crowd-8"), None).unwrap();
        assert!(files[0].cases.iter().all(|case| case.scenario.clients.count == 8));
        assert_eq!(files[0].cases.len(), 2);
        let error = select(swept(), Some("crowd"), None).err().unwrap();
        assert_eq!(error, "no run has the label \"crowd\"; the labels are crowd-4, crowd-8");
    }

    #[test]
    fn two_files_with_the_same_name_are_refused() {
        assert!(select(vec![file(""), file("")], None, None).is_err());
    }

    #[test]
    fn words_are_quoted_for_a_shell() {
        for (word, text) in [("a/b-1.toml", "a/b-1.toml"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'")] {
            assert_eq!(quoted(word), text);
        }
    }
}
