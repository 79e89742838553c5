//! What is run on containers: who is there, behind which links, what happens when, and what must be true in the end.

mod check;
mod file;
mod hold;
mod simulated;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

pub use file::ScenarioFile;
pub use hold::Hold;

/// A network of containers and what happens to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Determines the bytes of artifacts, and the simulation. Default 1.
    pub rng_seed: u64,
    /// What is published, and fetched by every client. Default one of 64 MiB.
    pub artifacts: Vec<Artifact>,
    /// Providers that have everything, and what each sends, in bytes of TCP payload per second; `None`: as fast as it can.
    pub seeds: Vec<Option<f64>>,
    /// Clients.
    pub clients: u32,
    /// What each client sends. Hostile nodes have the same link.
    pub client_up: Option<f64>,
    /// What each client receives.
    pub client_down: Option<f64>,
    /// Whom clients join the network through.
    pub first_peers: Vec<NodeName>,
    /// What clients do when they have everything. Default [`Afterwards::Linger`].
    pub afterwards: Afterwards,
    /// The time that is added to the way from one node to another. Zero: containers cannot be given any yet.
    pub latency: Duration,
    /// Nodes that do harm, one of each kind that is listed.
    pub hostile: Vec<Harm>,
    /// What happens to nodes.
    pub events: Vec<Event>,
    /// Whether the same is fetched over plain HTTP too.
    pub http: bool,
    /// What must be true in the end.
    pub hold: Hold,
}

/// A file that is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// Its size in bytes.
    pub size: u64,
    /// What is in it.
    pub kind: Kind,
}

/// What is in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Bytes without any pattern, as in a compressed image.
    #[default]
    Noise,
    /// Half of it zeros, in long runs, as in the image of a file system.
    Sparse,
}

/// What clients do when they have everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Afterwards {
    /// Serve on until the end.
    #[default]
    Linger,
    /// Start again as providers, with the same store.
    Provide,
    /// Go away.
    Leave,
}

/// What a hostile node does. All announce the release, say that they have everything, and answer what is asked about the
/// release as an honest node would; what they do to chunks differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Harm {
    /// One bit of each chunk is another.
    Corrupt,
    /// Nothing comes.
    Stall,
    /// Every request is refused: the chunk is missing.
    Lie,
    /// A few bytes come every second.
    Drip,
    /// The header says that more follows than a chunk may have.
    Oversize,
}

/// Something that happens to nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// To whom.
    pub nodes: Vec<NodeName>,
    /// When.
    pub when: When,
    /// What.
    pub change: Change,
}

/// A node of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeName {
    /// The first peer of everybody, which has no artifacts.
    Bootstrap,
    /// A provider that has everything, from 0.
    Seed(u32),
    /// A node that does harm, from 0.
    Hostile(u32),
    /// A client, from 0.
    Client(u32),
}

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// So long after the start.
    At(Duration),
    /// When clients have verified this part of all that they need together.
    Progress(f64),
    /// When this client has everything.
    Done(u32),
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// It is started: for the first time, or again with the same store.
    Start,
    /// Killed: SIGKILL.
    Kill,
    /// Asked to end: SIGTERM.
    Stop,
    /// Stopped and started again, with the same store.
    Restart,
    /// Frozen: it keeps its connections and does nothing.
    Pause,
    /// Thawed.
    Resume,
    /// Cut off from all that are not listed in the same event.
    Partition,
    /// Can reach everybody again.
    Heal,
    /// One byte in every 64 KiB of its artifacts is changed on disk.
    Corrupt,
    /// A seed becomes a hostile node that refuses what it says it has. It keeps its address and its key.
    Lie,
    /// It sends this part of what it could before.
    Slow(f64),
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            rng_seed: 1,
            artifacts: vec![Artifact { size: 64 << 20, kind: Kind::default() }],
            seeds: vec![None],
            clients: 1,
            client_up: None,
            client_down: None,
            first_peers: vec![NodeName::Bootstrap],
            afterwards: Afterwards::default(),
            latency: Duration::ZERO,
            hostile: Vec::new(),
            events: Vec::new(),
            http: true,
            hold: Hold::default(),
        }
    }
}

impl Scenario {
    /// Bytes that each client fetches.
    pub fn size(&self) -> u64 {
        self.artifacts.iter().map(|artifact| artifact.size).sum()
    }

    /// The shortest time in which any scheme could finish, in seconds: `max(F/Σu_s, F/d, N·F/(Σu_s + Σu_i))` (Kumar and Ross
    /// 2006). Nodes to which something happens count as if nothing did, and nobody counts on those who do harm. A link
    /// without a limit costs no time.
    pub fn bound(&self) -> f64 {
        let size = self.size() as f64;
        let sum = |rates: &[Option<f64>]| rates.iter().map(|rate| rate.unwrap_or(f64::INFINITY)).sum::<f64>();
        let clients = f64::from(self.clients);
        let (seeds, others) = (sum(&self.seeds), clients * self.client_up.unwrap_or(f64::INFINITY));
        let down = self.client_down.unwrap_or(f64::INFINITY);
        [size / seeds, size / down, clients * size / (seeds + others)].into_iter().fold(0.0, f64::max)
    }

    /// The same without anything that happens to nodes and without those who do harm.
    pub fn undisturbed(&self) -> Self {
        Self { hostile: Vec::new(), events: Vec::new(), ..self.clone() }
    }

    /// Whether anything happens to nodes, or somebody does harm.
    pub fn is_disturbed(&self) -> bool {
        !self.events.is_empty() || !self.hostile.is_empty()
    }

    /// All nodes, in the order in which they are started.
    pub fn nodes(&self) -> impl Iterator<Item = NodeName> {
        let seeds = (0..self.seeds.len() as u32).map(NodeName::Seed);
        let hostile = (0..self.hostile.len() as u32).map(NodeName::Hostile);
        let clients = (0..self.clients).map(NodeName::Client);
        std::iter::once(NodeName::Bootstrap).chain(seeds).chain(hostile).chain(clients)
    }

    /// What a node sends and receives at most.
    pub fn rates(&self, node: NodeName) -> (Option<f64>, Option<f64>) {
        match node {
            NodeName::Bootstrap => (None, None),
            NodeName::Seed(number) => (self.seeds[number as usize], None),
            NodeName::Hostile(_) | NodeName::Client(_) => (self.client_up, self.client_down),
        }
    }

    /// What happens first to a node.
    pub fn first_change(&self, node: NodeName) -> Option<Change> {
        self.events.iter().find(|event| event.nodes.contains(&node)).map(|event| event.change)
    }

    /// Whether a client is to finish: it is not killed, stopped or frozen without being started or thawed afterwards.
    pub fn must_finish(&self, client: u32) -> bool {
        let changes = self.events.iter().filter(|event| event.nodes.contains(&NodeName::Client(client)));
        let last = changes.map(|event| event.change).rfind(|change| {
            use Change::{Kill, Pause, Restart, Resume, Start, Stop};
            matches!(change, Start | Kill | Stop | Restart | Pause | Resume)
        });
        !matches!(last, Some(Change::Kill | Change::Stop | Change::Pause))
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bootstrap => f.write_str("bootstrap"),
            Self::Seed(number) => write!(f, "seed {number}"),
            Self::Hostile(number) => write!(f, "hostile {number}"),
            Self::Client(number) => write!(f, "client {number}"),
        }
    }
}

impl FromStr for NodeName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, number) = text.split_once(' ').unwrap_or((text, ""));
        match (role, number.parse()) {
            ("bootstrap", Err(_)) if number.is_empty() => Ok(Self::Bootstrap),
            ("seed", Ok(number)) => Ok(Self::Seed(number)),
            ("hostile", Ok(number)) => Ok(Self::Hostile(number)),
            ("client", Ok(number)) => Ok(Self::Client(number)),
            _ => Err(format!(
                "{text:?} is not a node: expected \"bootstrap\", \"seed 0\", \"hostile 0\" or \"client 0\", counted from 0"
            )),
        }
    }
}

impl fmt::Display for Harm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Corrupt => "corrupt",
            Self::Stall => "stall",
            Self::Lie => "lie",
            Self::Drip => "drip",
            Self::Oversize => "oversize",
        })
    }
}

impl FromStr for Harm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let all = [Self::Corrupt, Self::Stall, Self::Lie, Self::Drip, Self::Oversize];
        all.into_iter()
            .find(|harm| harm.to_string() == text)
            .ok_or_else(|| format!("{text:?} is no harm that is known: expected corrupt, stall, lie, drip or oversize"))
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Noise => "noise",
            Self::Sparse => "sparse",
        })
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Start => f.write_str("started"),
            Self::Kill => f.write_str("killed"),
            Self::Stop => f.write_str("stopped"),
            Self::Restart => f.write_str("restarted"),
            Self::Pause => f.write_str("frozen"),
            Self::Resume => f.write_str("thawed"),
            Self::Partition => f.write_str("cut off"),
            Self::Heal => f.write_str("connected again"),
            Self::Corrupt => f.write_str("damaged on disk"),
            Self::Lie => f.write_str("lies from now on"),
            Self::Slow(part) => write!(f, "slowed to {} %", part * 100.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(node: NodeName, change: Change) -> Event {
        Event { nodes: vec![node], when: When::Progress(0.5), change }
    }

    #[test]
    fn the_bound_is_that_of_whatever_is_short() {
        let plain = Scenario {
            artifacts: vec![Artifact { size: 100_000_000, kind: Kind::Noise }],
            seeds: vec![Some(10e6)],
            ..Scenario::default()
        };
        let cases = [
            (plain.clone(), 10.0),
            (Scenario { seeds: vec![Some(30e6), Some(10e6)], ..plain.clone() }, 2.5),
            (Scenario { client_down: Some(5e6), ..plain.clone() }, 20.0),
            (Scenario { clients: 9, client_up: Some(5e6), ..plain.clone() }, 900.0 / 55.0),
            (Scenario { clients: 9, ..plain.clone() }, 10.0),
            (Scenario { seeds: vec![None], ..plain.clone() }, 0.0),
        ];
        for (scenario, seconds) in cases {
            assert!((scenario.bound() - seconds).abs() < 1e-6, "{} is not {seconds}: {scenario:?}", scenario.bound());
        }
    }

    #[test]
    fn who_is_taken_away_for_good_need_not_finish() {
        use Change::{Kill, Partition, Pause, Restart, Resume, Start, Stop};
        let cases: [(&[Change], bool); 8] = [
            (&[], true),
            (&[Start], true),
            (&[Kill], false),
            (&[Kill, Start], true),
            (&[Pause], false),
            (&[Pause, Resume], true),
            (&[Restart, Stop, Partition], false),
            (&[Partition], true),
        ];
        for (changes, must) in cases {
            let events = changes.iter().map(|change| event(NodeName::Client(0), *change)).collect();
            let scenario = Scenario { events, ..Scenario::default() };
            assert_eq!(scenario.must_finish(0), must, "{changes:?}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for node in [NodeName::Bootstrap, NodeName::Seed(0), NodeName::Hostile(2), NodeName::Client(31)] {
            assert_eq!(node.to_string().parse(), Ok(node));
        }
        for text in ["", "seed", "seed -1", "bootstrap 1", "Client 1", "client  1"] {
            assert!(text.parse::<NodeName>().is_err(), "{text:?}");
        }
        for harm in [Harm::Corrupt, Harm::Stall, Harm::Lie, Harm::Drip, Harm::Oversize] {
            assert_eq!(harm.to_string().parse(), Ok(harm));
        }
    }
}
