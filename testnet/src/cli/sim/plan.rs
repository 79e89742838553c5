//! What is to be run, and in which order.

use std::path::{Path, PathBuf};

use phase_report::swarm::{Run, ScenarioOutcome};
use phase_scenario::{Case, Engine, Hold, Scenario, ScenarioFile, Variant};

use super::runner::Job;

/// The name of what is described by options.
const UNNAMED: &str = "swarm";

/// The runs of one file, or the one that options describe.
pub(super) struct Plan {
    name: String,
    about: String,
    path: Option<PathBuf>,
    pub(super) hold: Hold,
    pub(super) cases: Vec<Case>,
}

impl Plan {
    pub(super) fn of_file(path: &Path) -> Result<Self, String> {
        ScenarioFile::read(path, Engine::Simulator).map(Self::new).map_err(|error| error.to_string())
    }

    fn new(file: ScenarioFile) -> Self {
        let ScenarioFile { path, name, about, hold, cases, .. } = file;
        Self { name, about, path: Some(path), hold, cases }
    }

    pub(super) fn of_options(scenario: Scenario) -> Self {
        let cases = vec![Case { label: UNNAMED.to_owned(), scenario }];
        Self { name: UNNAMED.to_owned(), about: String::new(), path: None, hold: Hold::default(), cases }
    }

    /// Each case, followed by what it is to be compared with.
    pub(super) fn jobs(&self) -> impl Iterator<Item = Job> + '_ {
        self.cases.iter().flat_map(|case| {
            let compared = self.hold.comparisons().into_iter().map(|(variant, _)| variant);
            std::iter::once(Variant::Whole).chain(compared).map(|variant| Job {
                label: case.label.clone(),
                variant,
                scenario: case.scenario.variant(variant),
            })
        })
    }

    /// The outcome, without any run yet.
    pub(super) fn outcome(&self) -> ScenarioOutcome {
        let Self { name, about, path, hold, .. } = self;
        let (name, about, path) = (name.clone(), about.clone(), path.clone());
        ScenarioOutcome { name, about, path, hold: *hold, outcomes: Vec::new() }
    }

    /// The command that does a run again.
    pub(super) fn replay(&self, run: &Run, check: bool) -> String {
        let words: Vec<String> = match &self.path {
            Some(path) => {
                let (path, seed) = (path.to_string_lossy().into_owned(), run.seed.to_string());
                let mut words =
                    vec!["sim".to_owned(), path, "--only".to_owned(), run.label.clone(), "--seed".to_owned(), seed];
                words.extend(check.then(|| "--check".to_owned()));
                words
            }
            None => std::env::args().skip(1).collect(),
        };
        let words = words.iter().map(|word| quoted(word));
        std::iter::once("phase-testnet".to_owned()).chain(words).collect::<Vec<_>>().join(" ")
    }
}

/// Keeps what was asked for: of all runs those with a label, each with one RNG seed.
///
/// # Errors
/// If two files have the same name, or nothing has the label.
pub(super) fn select(mut plans: Vec<Plan>, only: Option<&str>, seed: Option<u64>) -> Result<Vec<Plan>, String> {
    for (number, plan) in plans.iter().enumerate() {
        if plans[..number].iter().any(|other| other.name == plan.name) {
            return Err(format!("two scenario files are named {}: run one after the other", plan.name));
        }
    }
    if let Some(seed) = seed {
        for plan in &mut plans {
            plan.cases.dedup_by(|one, other| one.label == other.label);
            plan.cases.iter_mut().for_each(|case| case.scenario.rng_seed = seed);
        }
    }
    let Some(only) = only else { return Ok(plans) };
    let mut labels: Vec<_> = plans.iter().flat_map(|plan| &plan.cases).map(|case| case.label.clone()).collect();
    labels.dedup();
    plans.iter_mut().for_each(|plan| plan.cases.retain(|case| case.label == only));
    plans.retain(|plan| !plan.cases.is_empty());
    if plans.is_empty() {
        return Err(format!("nothing has the label {only:?}; there is {}", labels.join(", ")));
    }
    Ok(plans)
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
    use super::*;

    fn plan(text: &str) -> Plan {
        Plan::new(ScenarioFile::parse(Path::new("a/crowd.toml"), text, Engine::Simulator).unwrap())
    }

    #[test]
    fn a_seed_replaces_those_of_the_file() {
        let swept = "rng_seeds = [1, 2]\n[clients]\ncount = [4, 8]";
        let plans = select(vec![plan(swept)], None, Some(9)).unwrap();
        let runs: Vec<_> = plans[0].cases.iter().map(|case| (case.label.as_str(), case.scenario.rng_seed)).collect();
        assert_eq!(runs, [("crowd-4", 9), ("crowd-8", 9)]);
    }

    #[test]
    fn a_label_picks_the_runs_that_have_it() {
        let swept = || vec![plan("rng_seeds = [1, 2]\n[clients]\ncount = [4, 8]")];
        let plans = select(swept(), Some("crowd-8"), None).unwrap();
        assert!(plans[0].cases.iter().all(|case| case.scenario.clients.count == 8));
        assert_eq!(plans[0].cases.len(), 2);
        let error = select(swept(), Some("crowd"), None).err().unwrap();
        assert_eq!(error, "nothing has the label \"crowd\"; there is crowd-4, crowd-8");
    }

    #[test]
    fn files_of_one_name_are_not_told_apart() {
        assert!(select(vec![plan(""), plan("")], None, None).is_err());
    }

    #[test]
    fn words_survive_a_shell() {
        for (word, text) in [("a/b-1.toml", "a/b-1.toml"), ("", "''"), ("a b", "'a b'"), ("it's", r"'it'\''s'")] {
            assert_eq!(quoted(word), text);
        }
    }
}
