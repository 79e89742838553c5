//! Scenario files: TOML, in which one file may describe several runs.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::engine::{Engine, Problem};
use crate::hold::Hold;
use crate::place::{FileError, Places};
use crate::scenario::{Artifact, Change, Churn, Clients, Event, Hostile, Network, NodeName, Scenario, When};
use crate::units::{OneOrMany, Rate, Share, Time};

/// The largest scenario file that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The most runs of one file.
const MAX_RUNS: usize = 1000;
/// The words for changes. What is left of a slow node's rate is written beside it.
const CHANGES: [(&str, Change); 11] = [
    ("start", Change::Start),
    ("kill", Change::Kill),
    ("stop", Change::Stop),
    ("restart", Change::Restart),
    ("pause", Change::Pause),
    ("resume", Change::Resume),
    ("partition", Change::Partition),
    ("heal", Change::Heal),
    ("corrupt", Change::Corrupt),
    ("lie", Change::Lie),
    ("slow", Change::Slow(1.0)),
];

/// What a scenario file describes.
#[derive(Clone, Debug)]
pub struct ScenarioFile {
    /// Where it is.
    pub path: PathBuf,
    /// The name of the file without its ending.
    pub name: String,
    /// One line for people.
    pub about: String,
    /// What was read.
    pub text: String,
    /// What must hold in each run.
    pub hold: Hold,
    /// The runs: for each number of seeds or clients one with each RNG seed.
    pub cases: Vec<Case>,
}

/// One run of a scenario file. Its label and its RNG seed name it.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The name of the file, and the number of seeds or clients where the file has several.
    pub label: String,
    /// What is run.
    pub scenario: Scenario,
}

impl ScenarioFile {
    /// Reads a file for an engine.
    ///
    /// # Errors
    /// If it cannot be read, is no TOML, has keys that do not exist or values that make no sense, or describes what the engine
    /// cannot run.
    pub fn read(path: &Path, engine: Engine) -> Result<Self, FileError> {
        Self::parse(path, &read_text(path)?, engine)
    }

    /// Reads the text of a file for an engine.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str, engine: Engine) -> Result<Self, FileError> {
        let places = Places::of(text).map_err(|error| FileError::syntax(path, text, &error))?;
        let document: Document = toml::from_str(text).map_err(|error| places.error(path, &error))?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let (about, hold) = (document.about.clone(), document.hold);
        let cases = document.into_cases(&name, engine).map_err(|Problem { key, cause }| {
            let line = places.line_of(&key);
            FileError { line, key: Some(key), ..FileError::whole(path, cause) }
        })?;
        Ok(Self { path: path.to_owned(), name, about, text: text.to_owned(), hold, cases })
    }
}

fn read_text(path: &Path) -> Result<String, FileError> {
    let fail = |cause| FileError::whole(path, cause);
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| fail(format!("cannot be opened: {error}")))?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| fail(format!("cannot be read: {error}")))?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(fail(format!("is larger than {MAX_FILE} bytes: is it a scenario file?")));
    }
    String::from_utf8(bytes).map_err(|_| fail("is no UTF-8 text: is it a scenario file?".to_owned()))
}

/// The sections of a file. What is left out is as in [`Scenario::default`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    about: String,
    rng_seeds: Vec<u64>,
    artifact: Vec<Artifact>,
    seeds: Seeds,
    clients: Clients<OneOrMany<u32>>,
    network: Network,
    hostile: Hostile,
    churn: Option<Churn>,
    event: Vec<EventSection>,
    baseline: Baseline,
    hold: Hold,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Seeds {
    /// Empty: as many as there are rates.
    count: OneOrMany<u32>,
    up: Option<OneOrMany<Rate>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Baseline {
    http: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventSection {
    node: OneOrMany<NodeName>,
    at: Option<Time>,
    progress: Option<Share>,
    done: Option<NodeName>,
    change: ChangeName,
    to: Option<Share>,
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct ChangeName(Change);

impl TryFrom<String> for ChangeName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let known = CHANGES.iter().find(|(word, _)| *word == text);
        known.map(|(_, change)| Self(*change)).ok_or_else(|| {
            let words = CHANGES.map(|(word, _)| word).join(", ");
            format!("{text:?} is not a change: expected one of {words}")
        })
    }
}

impl Default for Document {
    fn default() -> Self {
        let plain = Scenario::default();
        Self {
            about: String::new(),
            rng_seeds: vec![plain.rng_seed],
            artifact: plain.artifacts,
            seeds: Seeds::default(),
            clients: Clients::default(),
            network: plain.network,
            hostile: plain.hostile,
            churn: plain.churn,
            event: Vec::new(),
            baseline: Baseline::default(),
            hold: plain.hold,
        }
    }
}

impl Default for Seeds {
    fn default() -> Self {
        Self { count: OneOrMany(Vec::new()), up: None }
    }
}

impl Default for Clients<OneOrMany<u32>> {
    fn default() -> Self {
        Self::new(OneOrMany(vec![Clients::default().count]))
    }
}

impl Default for Baseline {
    fn default() -> Self {
        Self { http: Scenario::default().http }
    }
}

impl Document {
    /// A scenario for each number of seeds and clients, and each RNG seed.
    fn into_cases(self, name: &str, engine: Engine) -> Result<Vec<Case>, Problem> {
        let (all_seeds, counts, rng_seeds) = (self.seeds.each(engine)?, &self.clients.count.0, &self.rng_seeds);
        check_list("rng_seeds", rng_seeds)?;
        check_list("clients.count", counts)?;
        let runs = all_seeds.len().saturating_mul(counts.len()).saturating_mul(rng_seeds.len());
        if counts.len() > 1 && all_seeds.len() > 1 {
            return Err(Problem::new("clients.count", "is a list, as seeds.count is: only one of them can be"));
        } else if runs > MAX_RUNS {
            return Err(Problem::new("rng_seeds", format!("would make {runs} runs: {MAX_RUNS} are the most")));
        } else if rng_seeds.len() > 1 && engine == Engine::Containers {
            let cause = "is a list for the simulator alone: networks of containers run a scenario once";
            return Err(Problem::new("rng_seeds", cause));
        }
        let plain = self.scenario()?;
        let mut cases = Vec::new();
        for seeds in &all_seeds {
            for count in counts {
                let label = match (all_seeds.len(), counts.len()) {
                    (1, 1) => name.to_owned(),
                    (1, _) => format!("{name}-{count}"),
                    _ => format!("{name}-{}", seeds.len()),
                };
                let clients = self.clients.with_count(*count);
                for rng_seed in rng_seeds {
                    let (seeds, clients) = (seeds.clone(), clients.clone());
                    let scenario = Scenario { rng_seed: *rng_seed, seeds, clients, ..plain.clone() };
                    scenario.check(engine)?;
                    cases.push(Case { label: label.clone(), scenario });
                }
            }
        }
        Ok(cases)
    }

    /// All but what differs from run to run.
    fn scenario(&self) -> Result<Scenario, Problem> {
        let events = self.event.iter().enumerate().map(|(number, event)| event.to_event(number));
        Ok(Scenario {
            artifacts: self.artifact.clone(),
            network: self.network.clone(),
            hostile: self.hostile.clone(),
            churn: self.churn,
            events: events.collect::<Result<_, _>>()?,
            http: self.baseline.http,
            hold: self.hold,
            ..Scenario::default()
        })
    }
}

/// Whether a list makes runs that can be told apart.
fn check_list<T: PartialEq + std::fmt::Display>(key: &str, list: &[T]) -> Result<(), Problem> {
    let twice = list.iter().enumerate().find(|(at, value)| list[..*at].contains(value));
    match twice {
        _ if list.is_empty() => Err(Problem::new(key, "is empty: nothing would be run")),
        Some((_, value)) => Err(Problem::new(key, format!("has {value} twice"))),
        None => Ok(()),
    }
}

impl Seeds {
    /// What each seed sends, for each number of seeds.
    fn each(&self, engine: Engine) -> Result<Vec<Vec<Option<Rate>>>, Problem> {
        let rates: Vec<_> = self.up.iter().flat_map(|up| &up.0).copied().map(Some).collect();
        match (self.count.0.as_slice(), rates.as_slice()) {
            _ if self.up.is_some() && rates.is_empty() => {
                Err(Problem::new("seeds.up", "is empty: no node would have the artifacts"))
            }
            ([], []) => Ok(vec![Scenario::default().seeds]),
            ([], rates) => Ok(vec![rates.to_vec()]),
            (counts, [] | [_]) => {
                check_list("seeds.count", counts)?;
                let rate = rates.first().copied().flatten();
                // One more than permitted is told as too many.
                let most = engine.limits().nodes + 1;
                Ok(counts.iter().map(|count| vec![rate; (*count).min(most) as usize]).collect())
            }
            ([count], rates) if *count as usize == rates.len() => Ok(vec![rates.to_vec()]),
            (_, rates) => {
                let cause = format!("does not go with seeds.up, which lists {} rates", rates.len());
                Err(Problem::new("seeds.count", cause))
            }
        }
    }
}

impl EventSection {
    fn to_event(&self, number: usize) -> Result<Event, Problem> {
        let key = format!("event.{number}");
        let when = match (self.at, self.progress, self.done) {
            (Some(at), None, None) => When::At(at.0),
            (None, Some(part), None) => When::Progress(part.0),
            (None, None, Some(NodeName::Client(client))) => When::Done(client),
            (None, None, Some(_)) => return Err(Problem::new(&format!("{key}.done"), "is not a client")),
            _ => return Err(Problem::new(&key, "needs one of at = \"2s\", progress = 0.95 or done = \"client 0\"")),
        };
        let change = match (self.change.0, self.to) {
            (Change::Slow(_), Some(part)) => Change::Slow(part.0),
            (Change::Slow(_), None) => {
                return Err(Problem::new(&key, "a slow node needs the part of its rate that is left: to = 0.01"));
            }
            (_, Some(_)) => return Err(Problem::new(&format!("{key}.to"), "goes with change = \"slow\" alone")),
            (change, None) => change,
        };
        Ok(Event { nodes: self.node.0.clone(), when, change })
    }
}

#[cfg(test)]
mod tests;
