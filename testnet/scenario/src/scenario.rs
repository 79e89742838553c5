//! A network, what happens to its nodes, and what must hold in the end. Most types are written in scenario files as they are
//! here; what a file leaves out is as by default.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::bound::t_min;
use crate::hold::Hold;
use crate::units::{self, Multiple, Rate, Share, Size};
use crate::variant::Variant;

/// One run: nodes, links, artifacts, events and promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Determines everything random. Default 0.
    pub rng_seed: u64,
    /// What is published and fetched by every client. Default one artifact of 64 MiB.
    pub artifacts: Vec<Artifact>,
    /// Providers that have everything from the start, by what each sends; `None`: no limit. Default one without a limit.
    pub seeds: Vec<Option<Rate>>,
    /// The nodes that fetch.
    pub clients: Clients,
    /// The ways between nodes.
    pub network: Network,
    /// Nodes that do harm, with the links of clients. Default none.
    pub hostile: Hostile,
    /// Clients that are replaced all the time. Default none.
    pub churn: Option<Churn>,
    /// What happens to single nodes. Default nothing.
    pub events: Vec<Event>,
    /// Whether the same is fetched over plain HTTP too. Default true.
    pub http: bool,
    /// What must hold in the end.
    pub hold: Hold,
}

/// A published file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its size.
    pub size: Size,
    /// What is in it.
    #[serde(default)]
    pub kind: Kind,
}

/// What is in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Bytes without any pattern, as in a compressed image.
    #[default]
    Noise,
    /// Half of it zeros, in long runs, as in the image of a file system.
    Sparse,
}

/// The nodes that fetch. All start at once, but for those that an event starts. `N` is how their number is written.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, bound = "Clients<N>: Default, N: Deserialize<'de>")]
pub struct Clients<N = u32> {
    /// How many. Default 1.
    pub count: N,
    /// What each sends. Default no limit.
    pub up: Option<Rate>,
    /// What each receives. Default no limit.
    pub down: Option<Rate>,
    /// By which part rates differ from client to client, 0 to 0.9. Default 0.
    pub spread: Share,
    /// The part of the clients that nobody can dial: two such clients are never connected. Default 0.
    pub nat: Share,
    /// In which order they ask for chunks. Default rarest first.
    pub order: Order,
    /// The nodes through which they join the network. Default the bootstrap node.
    pub first_peers: Vec<NodeName>,
    /// What they do when they have everything. Default [`Afterwards::Linger`].
    pub afterwards: Afterwards,
}

/// In which order clients ask for chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// The chunk that the fewest peers have first.
    #[default]
    Rarest,
    /// From the beginning to the end.
    Sequential,
    /// At random.
    Random,
}

/// What clients do when they have everything.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Afterwards {
    /// Serve on until the end.
    #[default]
    Linger,
    /// Start again as providers, with the same store.
    Provide,
    /// Go away.
    Leave,
}

/// The ways between nodes.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// How long a packet takes from one node to another. In the simulator each pair of nodes has a latency of its own, between
    /// half of this and this. Default 0.
    #[serde(deserialize_with = "units::time")]
    pub latency: Duration,
    /// About how many other clients and hostile nodes each client connects to. Default: the engine's own choice.
    pub neighbours: Option<u32>,
}

/// How many nodes do each kind of harm. They are numbered in the order of [`Harm`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Hostile(pub BTreeMap<Harm, u32>);

/// What a hostile node does. All announce the release, say that they have everything, and answer questions about the release
/// as an honest node would; what they do to chunks differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Harm {
    /// One bit of each chunk is wrong.
    Corrupt,
    /// Nothing is sent.
    Stall,
    /// Every request is refused: the chunk is missing.
    Lie,
    /// A few bytes are sent every second.
    Drip,
    /// The header announces more bytes than a chunk may have.
    Oversize,
}

/// Some clients are killed and as many new clients come, again and again until the other clients have finished.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// The time between two replacements, as a multiple of T_min.
    pub every: Multiple,
    /// The part of the clients that is replaced each time.
    pub share: Share,
}

/// Something that happens to nodes.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The nodes.
    pub nodes: Vec<NodeName>,
    /// When.
    pub when: When,
    /// What.
    pub change: Change,
}

/// A node of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum NodeName {
    /// The first peer of all other nodes, which has no artifacts.
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
    /// Killed: SIGKILL. The other nodes notice when a timeout or the kernel tells them.
    Kill,
    /// Asked to end: SIGTERM.
    Stop,
    /// Stopped and started again, with the same store.
    Restart,
    /// Frozen: it keeps its connections and does nothing.
    Pause,
    /// Thawed.
    Resume,
    /// Cut off from all nodes that are not listed in the same event.
    Partition,
    /// Can reach all nodes again.
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
            rng_seed: 0,
            artifacts: vec![Artifact { size: Size(64 << 20), kind: Kind::default() }],
            seeds: vec![None],
            clients: Clients::default(),
            network: Network::default(),
            hostile: Hostile::default(),
            churn: None,
            events: Vec::new(),
            http: true,
            hold: Hold::default(),
        }
    }
}

impl<N> Clients<N> {
    /// So many clients, which differ in nothing else from the default.
    pub(crate) fn new(count: N) -> Self {
        Self {
            count,
            up: None,
            down: None,
            spread: Share(0.0),
            nat: Share(0.0),
            order: Order::default(),
            first_peers: vec![NodeName::Bootstrap],
            afterwards: Afterwards::default(),
        }
    }

    /// The same clients in another number.
    pub(crate) fn with_count<M>(&self, count: M) -> Clients<M> {
        let Self { up, down, spread, nat, order, afterwards, .. } = *self;
        Clients { count, up, down, spread, nat, order, first_peers: self.first_peers.clone(), afterwards }
    }
}

impl Default for Clients {
    fn default() -> Self {
        Self::new(1)
    }
}

impl Hostile {
    /// What each hostile node does.
    pub fn iter(&self) -> impl Iterator<Item = Harm> {
        self.0.iter().flat_map(|(harm, count)| std::iter::repeat_n(*harm, *count as usize))
    }

    /// How many there are.
    pub fn count(&self) -> u64 {
        self.0.values().map(|count| u64::from(*count)).sum()
    }
}

impl Scenario {
    /// Bytes that each client fetches.
    pub fn size(&self) -> u64 {
        self.artifacts.iter().fold(0, |sum, artifact| sum.saturating_add(artifact.size.0))
    }

    /// The shortest possible time in seconds. Nodes to which something happens count as if nothing did, hostile nodes do not
    /// count.
    pub fn t_min(&self) -> f64 {
        let limit = |rate: Option<Rate>| rate.map_or(f64::INFINITY, |rate| rate.0);
        let client = (limit(self.clients.up), limit(self.clients.down));
        let clients = std::iter::repeat_n(client, self.clients.count as usize);
        t_min(self.size(), self.seeds.iter().copied().map(limit), clients)
    }

    /// What is left of it in a variant. Only the whole promises anything: the others are what it is compared with.
    pub fn variant(&self, variant: Variant) -> Self {
        let (hostile, hold) = (Hostile::default(), Hold::default());
        match variant {
            Variant::Whole => self.clone(),
            Variant::Honest => Self { hostile, hold, ..self.clone() },
            Variant::Undisturbed => Self { hostile, hold, churn: None, events: Vec::new(), ..self.clone() },
        }
    }

    /// Whether anything happens to nodes, or a node does harm.
    pub fn is_disturbed(&self) -> bool {
        !self.events.is_empty() || self.churn.is_some() || self.hostile.count() > 0
    }

    /// All nodes, in the order in which they are started.
    pub fn nodes(&self) -> impl Iterator<Item = NodeName> {
        let seeds = (0..self.seeds.len() as u32).map(NodeName::Seed);
        let hostile = (0..self.hostile.count() as u32).map(NodeName::Hostile);
        let clients = (0..self.clients.count).map(NodeName::Client);
        std::iter::once(NodeName::Bootstrap).chain(seeds).chain(hostile).chain(clients)
    }

    /// Whether a node is part of it.
    pub fn has(&self, node: NodeName) -> bool {
        match node {
            NodeName::Bootstrap => true,
            NodeName::Seed(number) => (number as usize) < self.seeds.len(),
            NodeName::Hostile(number) => u64::from(number) < self.hostile.count(),
            NodeName::Client(number) => number < self.clients.count,
        }
    }

    /// What a node sends and receives at most.
    pub fn rates(&self, node: NodeName) -> (Option<Rate>, Option<Rate>) {
        match node {
            NodeName::Bootstrap => (None, None),
            NodeName::Seed(number) => (self.seeds[number as usize], None),
            NodeName::Hostile(_) | NodeName::Client(_) => (self.clients.up, self.clients.down),
        }
    }

    /// All that happens to a node, in order.
    pub fn changes(&self, node: NodeName) -> impl DoubleEndedIterator<Item = Change> {
        self.events.iter().filter(move |event| event.nodes.contains(&node)).map(|event| event.change)
    }

    /// Whether a node is absent until an event starts it.
    pub fn starts_later(&self, node: NodeName) -> bool {
        self.changes(node).next() == Some(Change::Start)
    }

    /// Whether a client is to finish: it is not killed, stopped or frozen without being started or thawed afterwards.
    pub fn must_finish(&self, client: u32) -> bool {
        use Change::{Kill, Pause, Restart, Resume, Start, Stop};
        let last = self
            .changes(NodeName::Client(client))
            .rfind(|change| matches!(change, Start | Kill | Stop | Restart | Pause | Resume));
        !matches!(last, Some(Kill | Stop | Pause))
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

impl TryFrom<String> for NodeName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (role, number) = text.split_once(' ').unwrap_or((&text, ""));
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
        units::word(text)
    }
}

impl FromStr for Order {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        units::word(text)
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

    #[test]
    fn a_client_that_is_taken_away_for_good_need_not_finish() {
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
            let event = |change: &Change| Event {
                nodes: vec![NodeName::Client(0)],
                when: When::Progress(0.5),
                change: *change,
            };
            let scenario = Scenario { events: changes.iter().map(event).collect(), ..Scenario::default() };
            assert_eq!(scenario.must_finish(0), must, "{changes:?}");
        }
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for node in [NodeName::Bootstrap, NodeName::Seed(0), NodeName::Hostile(2), NodeName::Client(31)] {
            assert_eq!(NodeName::try_from(node.to_string()), Ok(node));
        }
        for text in ["", "seed", "seed -1", "bootstrap 1", "Client 1", "client  1"] {
            assert!(NodeName::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        for harm in [Harm::Corrupt, Harm::Stall, Harm::Lie, Harm::Drip, Harm::Oversize] {
            assert_eq!(harm.to_string().parse(), Ok(harm));
        }
        assert!("evil".parse::<Harm>().unwrap_err().contains("expected one of `corrupt`, `stall`"));
    }

    #[test]
    fn hostile_nodes_are_numbered_by_kind() {
        let hostile = Hostile([(Harm::Drip, 1), (Harm::Corrupt, 2)].into());
        assert!(hostile.iter().eq([Harm::Corrupt, Harm::Corrupt, Harm::Drip]));
        assert_eq!(hostile.count(), 3);
    }

    #[test]
    fn a_variant_can_be_run_without_what_it_is_compared_with() {
        let hold = toml::from_str("versus_honest = 2.0\nversus_undisturbed = 2.0").unwrap();
        let hostile = Hostile([(Harm::Lie, 1)].into());
        let whole = Scenario { hostile, hold, ..Scenario::default() };
        for variant in [Variant::Honest, Variant::Undisturbed] {
            assert_eq!(whole.variant(variant), Scenario::default());
        }
        assert_eq!(whole.variant(Variant::Whole), whole);
    }

    #[test]
    fn t_min_knows_links_without_a_limit() {
        let artifacts = vec![Artifact { size: Size(100_000_000), kind: Kind::Noise }];
        let plain = Scenario { artifacts, seeds: vec![Some(Rate(10e6))], ..Scenario::default() };
        assert!((plain.t_min() - 10.0).abs() < 1e-6);
        let slow = Clients { down: Some(Rate(5e6)), ..Clients::default() };
        assert!((Scenario { clients: slow, ..plain.clone() }.t_min() - 20.0).abs() < 1e-6);
        assert_eq!(Scenario { seeds: vec![None], ..plain }.t_min(), 0.0);
    }
}
