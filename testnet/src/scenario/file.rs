//! Scenario files: TOML, in which one file may describe runs with several numbers of clients and several RNG seeds.

mod place;
mod sections;

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::{Field, Hold, Scenario, ScenarioError};
use place::Places;
use sections::Document;

/// The largest scenario file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The most runs of one file.
const MAX_RUNS: usize = 1000;

/// What a scenario file describes.
#[derive(Clone, Debug)]
pub struct ScenarioFile {
    /// Where it is.
    pub path: PathBuf,
    /// The name of the file without its ending.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// What must hold in each run.
    pub hold: Hold,
    /// The runs: for each number of clients one with each RNG seed.
    pub cases: Vec<Case>,
}

/// One run of a scenario file. Its label and its RNG seed name it.
#[derive(Clone, Debug)]
pub struct Case {
    /// The name of the file, and the number of clients where the file has several.
    pub label: String,
    /// What is run.
    pub scenario: Scenario,
    /// What must hold.
    pub hold: Hold,
}

/// A file that describes no scenario: which one, where in it, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct FileError {
    /// The file.
    pub path: PathBuf,
    /// The line, from 1, if it can be told.
    pub line: Option<usize>,
    /// The key, with its section, if it can be told: `clients.spread`.
    pub key: Option<String>,
    /// What is wrong.
    pub cause: String,
}

impl ScenarioFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is no TOML, has keys that do not exist or values that make no sense.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        let fail = |cause| FileError { path: path.to_owned(), line: None, key: None, cause };
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(|error| fail(format!("cannot be opened: {error}")))?;
        file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| fail(format!("cannot be read: {error}")))?;
        if bytes.len() as u64 > MAX_FILE {
            return Err(fail(format!("is larger than {MAX_FILE} bytes: is it a scenario file?")));
        }
        let text = String::from_utf8(bytes).map_err(|_| fail("is no UTF-8 text: is it a scenario file?".to_owned()))?;
        Self::parse(path, &text)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        let places = Places::of(text);
        let (document, places) = match (toml::from_str::<Document>(text), places) {
            (Ok(document), Ok(places)) => (document, places),
            (Err(error), Ok(places)) => return Err(places.error(path, &error)),
            (_, Err(error)) => return Err(Places::syntax_error(path, text, &error)),
        };
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        document.into_file(path, name).map_err(|problem| FileError {
            path: path.to_owned(),
            line: places.line_of(&problem.key),
            key: Some(problem.key),
            cause: problem.cause,
        })
    }
}

/// What is wrong with the value of a key.
struct Problem {
    key: String,
    cause: String,
}

impl Problem {
    fn new(key: &str, cause: impl Into<String>) -> Self {
        Self { key: key.to_owned(), cause: cause.into() }
    }
}

impl Document {
    fn into_file(self, path: &Path, name: String) -> Result<ScenarioFile, Problem> {
        let (about, hold, counts) = (self.about.clone(), self.hold, self.clients.count.0.clone());
        let seeds = self.rng_seeds.clone();
        let runs = counts.len().saturating_mul(seeds.len());
        if counts.is_empty() || seeds.is_empty() {
            let key = if seeds.is_empty() { "rng_seeds" } else { "clients.count" };
            return Err(Problem::new(key, "is empty: nothing would be run"));
        } else if runs > MAX_RUNS {
            return Err(Problem::new("rng_seeds", format!("would make {runs} runs: {MAX_RUNS} are the most")));
        }
        for (key, list) in [("rng_seeds", &seeds), ("clients.count", &counts.iter().map(|count| (*count).into()).collect())] {
            if let Some(twice) = list.iter().enumerate().find_map(|(at, value)| list[..at].contains(value).then_some(value)) {
                return Err(Problem::new(key, format!("has {twice} twice")));
            }
        }
        let plain = self.into_scenario()?;
        let mut cases = Vec::new();
        for nodes in &counts {
            let label = if counts.len() == 1 { name.clone() } else { format!("{name}-{nodes}") };
            for seed in &seeds {
                let scenario = Scenario { nodes: *nodes, seed: *seed, ..plain.clone() };
                scenario.check().map_err(|ScenarioError { field, problem }| Problem::new(&field.key(), problem))?;
                cases.push(Case { label: label.clone(), scenario, hold });
            }
        }
        Ok(ScenarioFile { path: path.to_owned(), name, about, hold, cases })
    }
}

impl Field {
    /// The key of a scenario file that it comes from.
    fn key(self) -> String {
        let key = match self {
            Self::Nodes | Self::AllNodes => "clients.count",
            Self::SeedUp => "seeds.up",
            Self::Size => "artifact.size",
            Self::Up => "clients.up",
            Self::Down => "clients.down",
            Self::Spread => "clients.spread",
            Self::Latency => "network.latency",
            Self::Neighbours => "network.neighbours",
            Self::Nat => "clients.nat",
            Self::ChurnEvery => "churn.every",
            Self::ChurnShare => "churn.share",
            Self::Events => "event",
            Self::Event(number) => return format!("event.{number}"),
        };
        key.to_owned()
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        match &self.key {
            Some(key) => write!(f, ": {key}: {}", self.cause),
            None => write!(f, ": {}", self.cause),
        }
    }
}
