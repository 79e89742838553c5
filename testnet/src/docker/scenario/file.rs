//! Scenario files: TOML, in which one file may describe runs with several numbers of seeds or clients.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Afterwards, Artifact, Change, Event, Harm, Hold, Kind, NodeName, Scenario, When};
use crate::scenario::FileError;
use crate::scenario::file::{Problem, name_of, parse, read_text};
use crate::scenario::units::{OneOrMany, Rate, Share, Size, Time};

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
    /// The runs, each with its label: the name, and the number of seeds or clients where the file has several.
    pub cases: Vec<(String, Scenario)>,
}

impl ScenarioFile {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, is no TOML, has keys that do not exist or values that make no sense.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        Self::parse(path, &read_text(path)?)
    }

    /// Reads the text of a file.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str) -> Result<Self, FileError> {
        parse(path, text, |document: Document| {
            let name = name_of(path);
            let about = document.about.clone();
            let cases = document.into_cases(&name)?;
            Ok(Self { path: path.to_owned(), name, about, text: text.to_owned(), cases })
        })
    }
}

/// The sections of a file. What is left out is as in [`Scenario::default`].
#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Document {
    about: String,
    rng_seed: u64,
    artifact: Vec<ArtifactSection>,
    seeds: Seeds,
    clients: Clients,
    network: Network,
    hostile: Vec<Parsed<Harm>>,
    event: Vec<EventSection>,
    baseline: Baseline,
    hold: Hold,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArtifactSection {
    size: Size,
    #[serde(default)]
    kind: KindName,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum KindName {
    #[default]
    Noise,
    Sparse,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Seeds {
    count: OneOrMany<u32>,
    up: Option<OneOrMany<Rate>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Clients {
    count: OneOrMany<u32>,
    up: Option<Rate>,
    down: Option<Rate>,
    first_peers: Vec<Parsed<NodeName>>,
    afterwards: AfterwardsName,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AfterwardsName {
    #[default]
    Linger,
    Provide,
    Leave,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Network {
    latency: Option<Time>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Baseline {
    http: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventSection {
    node: OneOrMany<Parsed<NodeName>>,
    at: Option<Time>,
    progress: Option<Share>,
    done: Option<Parsed<NodeName>>,
    change: ChangeName,
    to: Option<Share>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ChangeName {
    Start,
    Kill,
    Stop,
    Restart,
    Pause,
    Resume,
    Partition,
    Heal,
    Corrupt,
    Lie,
    Slow,
}

/// Something that is written as a text of its own.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String", bound = "")]
struct Parsed<T: std::str::FromStr<Err = String>>(T);

impl<T: std::str::FromStr<Err = String>> TryFrom<String> for Parsed<T> {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl Default for Document {
    fn default() -> Self {
        Self {
            about: String::new(),
            rng_seed: Scenario::default().rng_seed,
            artifact: Vec::new(),
            seeds: Seeds::default(),
            clients: Clients::default(),
            network: Network::default(),
            hostile: Vec::new(),
            event: Vec::new(),
            baseline: Baseline::default(),
            hold: Hold::default(),
        }
    }
}

impl Default for Seeds {
    fn default() -> Self {
        Self { count: OneOrMany(Vec::new()), up: None }
    }
}

impl Default for Clients {
    fn default() -> Self {
        let plain = Scenario::default();
        Self {
            count: OneOrMany(vec![plain.clients]),
            up: None,
            down: None,
            first_peers: plain.first_peers.into_iter().map(Parsed).collect(),
            afterwards: AfterwardsName::default(),
        }
    }
}

impl Default for Baseline {
    fn default() -> Self {
        Self { http: Scenario::default().http }
    }
}

impl Document {
    /// A scenario for each number of seeds and clients.
    fn into_cases(self, name: &str) -> Result<Vec<(String, Scenario)>, Problem> {
        let (all_seeds, counts) = (self.seeds.each()?, self.clients.count.0.clone());
        if counts.is_empty() {
            return Err(Problem::new("clients.count", "is empty: nothing would be run"));
        } else if counts.len() > 1 && all_seeds.len() > 1 {
            return Err(Problem::new("clients.count", "is a list, as seeds.count is: only one of them can be"));
        }
        let is_one = counts.len() == 1 && all_seeds.len() == 1;
        let plain = self.into_scenario()?;
        let mut cases = Vec::new();
        for seeds in all_seeds {
            for clients in &counts {
                let number = if counts.len() > 1 { *clients } else { seeds.len() as u32 };
                let label = if is_one { name.to_owned() } else { format!("{name}-{number}") };
                if cases.iter().any(|(other, _)| *other == label) {
                    let key = if counts.len() > 1 { "clients.count" } else { "seeds.count" };
                    return Err(Problem::new(key, format!("has {number} twice")));
                }
                let scenario = Scenario { seeds: seeds.clone(), clients: *clients, ..plain.clone() };
                scenario.check()?;
                cases.push((label, scenario));
            }
        }
        Ok(cases)
    }

    /// All but the numbers of seeds and clients.
    fn into_scenario(self) -> Result<Scenario, Problem> {
        let plain = Scenario::default();
        let artifacts: Vec<_> = self.artifact.into_iter().map(ArtifactSection::into_artifact).collect();
        let events = self.event.into_iter().enumerate().map(|(number, event)| event.into_event(number));
        let clients = self.clients;
        Ok(Scenario {
            rng_seed: self.rng_seed,
            artifacts: if artifacts.is_empty() { plain.artifacts } else { artifacts },
            seeds: Vec::new(),
            clients: 0,
            client_up: clients.up.map(|rate| rate.0),
            client_down: clients.down.map(|rate| rate.0),
            first_peers: clients.first_peers.into_iter().map(|peer| peer.0).collect(),
            afterwards: match clients.afterwards {
                AfterwardsName::Linger => Afterwards::Linger,
                AfterwardsName::Provide => Afterwards::Provide,
                AfterwardsName::Leave => Afterwards::Leave,
            },
            latency: self.network.latency.map_or(plain.latency, |time| time.0),
            hostile: self.hostile.into_iter().map(|harm| harm.0).collect(),
            events: events.collect::<Result<_, _>>()?,
            http: self.baseline.http,
            hold: self.hold,
        })
    }
}

impl ArtifactSection {
    fn into_artifact(self) -> Artifact {
        let kind = match self.kind {
            KindName::Noise => Kind::Noise,
            KindName::Sparse => Kind::Sparse,
        };
        Artifact { size: self.size.0, kind }
    }
}

impl Seeds {
    /// What each seed sends, for each number of seeds.
    fn each(&self) -> Result<Vec<Vec<Option<f64>>>, Problem> {
        let rates: Vec<_> = self.up.iter().flat_map(|up| &up.0).map(|rate| Some(rate.0)).collect();
        match (self.count.0.as_slice(), rates.as_slice()) {
            ([], []) if self.up.is_some() => Err(Problem::new("seeds.up", "is empty: nobody would have the artifacts")),
            ([], []) => Ok(vec![Scenario::default().seeds]),
            ([], rates) => Ok(vec![rates.to_vec()]),
            (counts, [] | [_]) => {
                let rate = rates.first().copied().flatten();
                // One more than permitted is told as too many.
                let most = super::check::MAX_NODES + 1;
                Ok(counts.iter().map(|count| vec![rate; (*count).min(most) as usize]).collect())
            }
            (counts, rates) => {
                let listed = rates.len();
                let fits = counts == [listed as u32];
                let problem =
                    || Problem::new("seeds.count", format!("does not go with seeds.up, which lists {listed}"));
                fits.then(|| vec![rates.to_vec()]).ok_or_else(problem)
            }
        }
    }
}

impl EventSection {
    fn into_event(self, number: usize) -> Result<Event, Problem> {
        let key = format!("event.{number}");
        let when = match (self.at, self.progress, self.done) {
            (Some(at), None, None) => When::At(at.0),
            (None, Some(part), None) => When::Progress(part.0),
            (None, None, Some(Parsed(NodeName::Client(client)))) => When::Done(client),
            (None, None, Some(_)) => return Err(Problem::new(&format!("{key}.done"), "is not a client")),
            _ => return Err(Problem::new(&key, "needs one of at = \"2s\", progress = 0.95 or done = \"client 0\"")),
        };
        let change = match (self.change, self.to) {
            (ChangeName::Slow, Some(part)) => Change::Slow(part.0),
            (ChangeName::Slow, None) => {
                return Err(Problem::new(&key, "a slow node needs the part of its rate that is left: to = 0.01"));
            }
            (_, Some(_)) => return Err(Problem::new(&format!("{key}.to"), "goes with change = \"slow\" alone")),
            (ChangeName::Start, None) => Change::Start,
            (ChangeName::Kill, None) => Change::Kill,
            (ChangeName::Stop, None) => Change::Stop,
            (ChangeName::Restart, None) => Change::Restart,
            (ChangeName::Pause, None) => Change::Pause,
            (ChangeName::Resume, None) => Change::Resume,
            (ChangeName::Partition, None) => Change::Partition,
            (ChangeName::Heal, None) => Change::Heal,
            (ChangeName::Corrupt, None) => Change::Corrupt,
            (ChangeName::Lie, None) => Change::Lie,
        };
        Ok(Event { nodes: self.node.0.into_iter().map(|node| node.0).collect(), when, change })
    }
}

#[cfg(test)]
mod tests;
