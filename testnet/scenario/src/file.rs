//! Reads scenario files, which are TOML. One file may describe several runs.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::engine::{Engine, Problem};
use crate::hold::Hold;
use crate::location::{FileError, KeyLocations};
use crate::scenario::{Artifact, Change, Churn, Clients, Event, Hostile, Network, NodeName, Scenario, When};
use crate::units::{OneOrMany, Rate, Share, Time};

/// The maximum size of a scenario file in bytes. A larger file is refused.
const MAX_FILE: u64 = 1 << 20;
/// The maximum number of runs that one scenario file may describe.
const MAX_RUNS: usize = 1000;
/// The word for each change in a scenario file. The factor of `slow` is a placeholder, because a scenario file gives
/// the factor in a separate key, which is `to`.
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

/// The content of a scenario file.
#[derive(Clone, Debug)]
pub struct ScenarioFile {
    /// The path of the file.
    pub path: PathBuf,
    /// The file name without its extension.
    pub name: String,
    /// A one-line description of the scenario, possibly empty.
    pub about: String,
    /// The whole text of the file.
    pub text: String,
    /// The promises, which must hold in each run.
    pub hold: Hold,
    /// The runs, one for each combination of a number of seeds, a number of clients and an RNG seed.
    pub cases: Vec<Case>,
}

/// One run of a scenario file, identified by its label and its RNG seed.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The name of the run, such as `flash-crowd-1000`: the name of the file, followed by the number of seeds or
    /// clients if the file lists several numbers.
    pub label: String,
    /// The scenario of this run.
    pub scenario: Scenario,
}

impl ScenarioFile {
    /// Reads a scenario file, and checks that the engine can run every scenario in it.
    ///
    /// # Errors
    /// If the file cannot be read, is not TOML, has unknown keys or invalid values, or describes a scenario that the
    /// engine cannot run.
    pub fn read(path: &Path, engine: Engine) -> Result<Self, FileError> {
        Self::parse(path, &read_text(path)?, engine)
    }

    /// Parses the text of a scenario file, and checks that the engine can run every scenario in it.
    ///
    /// # Errors
    /// If the text is not TOML, has unknown keys or invalid values, or describes a scenario that the engine cannot run.
    pub fn parse(path: &Path, text: &str, engine: Engine) -> Result<Self, FileError> {
        let locations = KeyLocations::of(text).map_err(|error| FileError::syntax(path, text, &error))?;
        let document: Document = toml::from_str(text).map_err(|error| locations.error(path, &error))?;
        let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let (about, hold) = (document.about.clone(), document.hold);
        let cases = document.into_cases(&name, engine).map_err(|Problem { key, cause }| {
            let line = locations.line_of(&key);
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
    String::from_utf8(bytes).map_err(|_| fail("is not UTF-8 text: is it a scenario file?".to_owned()))
}

/// The content of a scenario file. A missing key gets its value from [`Scenario::default`].
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
    /// The number of seeds, or a list with the number of seeds of each run. If this key is missing, there is one seed
    /// for each rate in `up`. If both keys are missing, there is one seed without a limit.
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
    /// Makes one case for each combination of a number of seeds, a number of clients and an RNG seed.
    fn into_cases(self, name: &str, engine: Engine) -> Result<Vec<Case>, Problem> {
        let (all_seeds, counts, rng_seeds) = (self.seeds.rates(engine)?, &self.clients.count.0, &self.rng_seeds);
        check_list("rng_seeds", rng_seeds)?;
        check_list("clients.count", counts)?;
        let runs = all_seeds.len().saturating_mul(counts.len()).saturating_mul(rng_seeds.len());
        if counts.len() > 1 && all_seeds.len() > 1 {
            return Err(Problem::new(
                "clients.count",
                "is a list, but seeds.count is a list too; only one of the two may be a list",
            ));
        } else if runs > MAX_RUNS {
            return Err(Problem::new("rng_seeds", format!("would make {runs} runs; the limit is {MAX_RUNS}")));
        } else if rng_seeds.len() > 1 && engine == Engine::Containers {
            let cause = "may list several RNG seeds for the simulator only: networks of containers run a scenario once";
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

    /// Returns the parts of the scenario that are the same in all runs.
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

/// Checks that a list is not empty and has no duplicates, because a run is identified by its label and RNG seed.
fn check_list<T: PartialEq + std::fmt::Display>(key: &str, list: &[T]) -> Result<(), Problem> {
    let twice = list.iter().enumerate().find(|(at, value)| list[..*at].contains(value));
    match twice {
        _ if list.is_empty() => Err(Problem::new(key, "is empty: nothing would be run")),
        Some((_, value)) => Err(Problem::new(key, format!("has {value} twice"))),
        None => Ok(()),
    }
}

impl Seeds {
    /// Returns the upload rates of all seeds: one list for each number of seeds in the file.
    fn rates(&self, engine: Engine) -> Result<Vec<Vec<Option<Rate>>>, Problem> {
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
                // The number of seeds is checked later. `most` prevents a huge allocation before that check.
                let most = engine.limits().nodes + 1;
                Ok(counts.iter().map(|count| vec![rate; (*count).min(most) as usize]).collect())
            }
            ([count], rates) if *count as usize == rates.len() => Ok(vec![rates.to_vec()]),
            (_, rates) => {
                let cause = format!("does not match seeds.up, which lists {} rates", rates.len());
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
                return Err(Problem::new(
                    &key,
                    "needs the share of its rate that the slow node keeps, such as to = 0.01",
                ));
            }
            (_, Some(_)) => return Err(Problem::new(&format!("{key}.to"), "is allowed only with change = \"slow\"")),
            (change, None) => change,
        };
        Ok(Event { nodes: self.node.0.clone(), when, change })
    }
}

#[cfg(test)]
mod tests;
