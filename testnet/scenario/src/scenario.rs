//! The data model of a scenario. Most of these types are deserialised from scenario files. A key that is missing in a
//! file has its default value.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;

use crate::bound::t_min;
use crate::hold::Hold;
use crate::units::{self, Multiple, Rate, Share, Size};
use crate::variant::Variant;

/// The scenario of one run: its nodes, network links, artifacts, events and promises.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// The RNG seed, which determines all random choices. Default 0.
    pub rng_seed: u64,
    /// The published artifacts. Every client fetches all of them. Default: one artifact of 64 MiB.
    pub artifacts: Vec<Artifact>,
    /// One entry for each seed: its upload rate, or `None` for no limit. Default: one seed without a limit.
    pub seeds: Vec<Option<Rate>>,
    /// The clients: their number, their network links and their behaviour.
    pub clients: Clients,
    /// The network between the nodes.
    pub network: Network,
    /// The hostile nodes, which have the same rate limits as clients. Default: none.
    pub hostile: Hostile,
    /// How often clients are replaced during the run, and how many of them. Default: no churn.
    pub churn: Option<Churn>,
    /// The events during the run, such as the kill of a seed. Default: none.
    pub events: Vec<Event>,
    /// Whether the HTTP baseline is run, for comparison. Default true.
    pub http: bool,
    /// The promises, which must hold at the end of the run.
    pub hold: Hold,
}

/// An artifact that the clients of a scenario fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// The size of the artifact.
    pub size: Size,
    /// The kind of bytes in the artifact.
    #[serde(default)]
    pub kind: Kind,
}

/// The kind of bytes in an artifact.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Random bytes, as in a compressed image.
    #[default]
    Noise,
    /// Half random bytes and half zeros, in long sections, as in a file system image.
    Sparse,
}

/// A description of the clients. All clients start at the same moment, except those that an event starts later. `N` is
/// the type of `count`: one number in a scenario, and possibly several numbers in a scenario file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, bound = "Clients<N>: Default, N: Deserialize<'de>")]
pub struct Clients<N = u32> {
    /// The number of clients. Default 1.
    pub count: N,
    /// The upload rate of each client. Default: no limit.
    pub up: Option<Rate>,
    /// The download rate of each client. Default: no limit.
    pub down: Option<Rate>,
    /// The largest relative difference of a client's rates from `up` and `down`, 0 to 0.9. For instance, with 0.2 a
    /// rate is up to 20 % higher or lower. Default 0.
    pub spread: Share,
    /// The part of the clients that no node can dial, 0 to 1. Two such clients are never connected. Default 0.
    pub nat: Share,
    /// The order in which clients request chunks. Default: rarest first.
    pub order: Order,
    /// The bootstrap peers of clients: the bootstrap node or seeds. Default: the bootstrap node.
    pub first_peers: Vec<NodeName>,
    /// The action of a client after its fetch. Default [`Afterwards::Linger`].
    pub afterwards: Afterwards,
}

/// The order in which clients request chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Order {
    /// A client first requests the chunks that the fewest of its connected peers have.
    #[default]
    Rarest,
    /// A client requests chunks from the first chunk of the artifact to the last.
    Sequential,
    /// A client requests chunks in random order.
    Random,
}

/// The action of a client after its fetch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Afterwards {
    /// After its fetch, the client continues to serve until the end of the run.
    #[default]
    Linger,
    /// After its fetch, the client restarts as a provider with the same store.
    Provide,
    /// After its fetch, the client exits.
    Leave,
}

/// The network between the nodes: its latency, and the number of neighbours of each client.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Network {
    /// The one-way latency between two nodes. In the simulator each pair of nodes has its own latency, between half of
    /// this value and this value. Default 0.
    #[serde(deserialize_with = "units::time")]
    pub latency: Duration,
    /// The approximate number of neighbours of each client, not counting seeds. Only the simulator supports this key.
    /// `None` means the simulator's default.
    pub neighbours: Option<u32>,
}

/// The number of hostile nodes of each kind. The nodes are numbered kind by kind, in the order of [`HostileKind`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Hostile(pub BTreeMap<HostileKind, u32>);

/// The kind of a hostile node. All kinds announce the release, claim to have all chunks, and answer requests for
/// metadata like an honest node. They differ in how they answer requests for chunks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HostileKind {
    /// The hostile node sends chunks with one wrong bit.
    Corrupt,
    /// The hostile node does not answer requests for chunks.
    Stall,
    /// The hostile node refuses every request for chunks, with the reason that it lacks a chunk.
    Lie,
    /// The hostile node sends chunks at 256 bytes per second: 64 bytes every 250 ms, so that the request never stalls.
    Drip,
    /// The hostile node breaks a length limit in each reply to a request for chunks. Alternately, the frame header is
    /// too long, or the frame header announces a payload that is too long.
    Oversize,
}

/// Churn: at regular intervals, some clients are killed and the same number of new clients start. Churn ends when every
/// client that ran from the start has finished or was killed.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// The time between two replacements of clients, as a multiple of T_min.
    pub every: Multiple,
    /// The part of the clients that is replaced each time.
    pub share: Share,
}

/// A change that happens to some nodes at a given time.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// The nodes to which the change happens.
    pub nodes: Vec<NodeName>,
    /// The time of the change.
    pub when: When,
    /// The change that happens to each of the nodes.
    pub change: Change,
}

/// The name of a node in a scenario, such as `client 3`. Nodes of each kind are numbered from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub enum NodeName {
    /// The bootstrap node, through which the other nodes join the network. It has no artifacts.
    Bootstrap,
    /// The seed with this number. A seed is a provider that has all artifacts from the start.
    Seed(u32),
    /// The hostile node with this number.
    Hostile(u32),
    /// The client with this number.
    Client(u32),
}

/// The condition for an event of a scenario to happen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// The event happens at this time after the start of the run.
    At(Duration),
    /// The event happens when all clients together have verified this part of the bytes that they have to fetch. For
    /// instance, 0.5 is half of the bytes.
    Progress(f64),
    /// The event happens when the client with this number has all artifacts.
    Done(u32),
}

/// A change that an event makes to a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// The node starts for the first time, or again with the same store.
    Start,
    /// The node gets SIGKILL. Its peers notice when the kernel closes the connection or a timeout passes.
    Kill,
    /// The node gets SIGTERM.
    Stop,
    /// The node is stopped and started again with the same store.
    Restart,
    /// The node is frozen, which means that it keeps its connections and does nothing.
    Pause,
    /// The node continues after [`Change::Pause`].
    Resume,
    /// The node can reach only the nodes that the same event lists.
    Partition,
    /// The node can reach all nodes again, after [`Change::Partition`].
    Heal,
    /// One byte in every 64 KiB of the seed's artifacts is changed on disk.
    Corrupt,
    /// The seed becomes a hostile node that refuses requests for chunks that it claims to have. The seed keeps its
    /// address and its identity.
    Lie,
    /// The upload rate of the node is multiplied by this factor, from 0 to 1.
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
    /// Returns a description of `count` clients, which has the default value for every other key.
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

    /// Returns a copy of this description with another `count`.
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
    /// Returns the kind of each hostile node, in the order of their numbers.
    pub fn iter(&self) -> impl Iterator<Item = HostileKind> {
        self.0.iter().flat_map(|(kind, count)| std::iter::repeat_n(*kind, *count as usize))
    }

    /// Returns the number of hostile nodes.
    pub fn count(&self) -> u64 {
        self.0.values().map(|count| u64::from(*count)).sum()
    }
}

impl Scenario {
    /// Returns the size of all artifacts in bytes, which is the number of bytes that each client fetches.
    pub fn size(&self) -> u64 {
        self.artifacts.iter().fold(0, |sum, artifact| sum.saturating_add(artifact.size.0))
    }

    /// Returns T_min in seconds. Events and hostile nodes are ignored.
    pub fn t_min(&self) -> f64 {
        let limit = |rate: Option<Rate>| rate.map_or(f64::INFINITY, |rate| rate.0);
        let client = (limit(self.clients.up), limit(self.clients.down));
        let clients = std::iter::repeat_n(client, self.clients.count as usize);
        t_min(self.size(), self.seeds.iter().copied().map(limit), clients)
    }

    /// Returns the given variant of the scenario. Only [`Variant::Whole`] has promises, because the other variants are
    /// run only for comparison.
    pub fn variant(&self, variant: Variant) -> Self {
        let (hostile, hold) = (Hostile::default(), Hold::default());
        match variant {
            Variant::Whole => self.clone(),
            Variant::Honest => Self { hostile, hold, ..self.clone() },
            Variant::Undisturbed => Self { hostile, hold, churn: None, events: Vec::new(), ..self.clone() },
        }
    }

    /// Whether the scenario has events, churn or hostile nodes.
    pub fn is_disturbed(&self) -> bool {
        !self.events.is_empty() || self.churn.is_some() || self.hostile.count() > 0
    }

    /// Returns all nodes in the order in which they are started.
    pub fn nodes(&self) -> impl Iterator<Item = NodeName> {
        let seeds = (0..self.seeds.len() as u32).map(NodeName::Seed);
        let hostile = (0..self.hostile.count() as u32).map(NodeName::Hostile);
        let clients = (0..self.clients.count).map(NodeName::Client);
        std::iter::once(NodeName::Bootstrap).chain(seeds).chain(hostile).chain(clients)
    }

    /// Whether the scenario has a node with this name.
    pub fn has(&self, node: NodeName) -> bool {
        match node {
            NodeName::Bootstrap => true,
            NodeName::Seed(number) => (number as usize) < self.seeds.len(),
            NodeName::Hostile(number) => u64::from(number) < self.hostile.count(),
            NodeName::Client(number) => number < self.clients.count,
        }
    }

    /// Returns the upload rate limit and the download rate limit of a node. `None` means no limit.
    pub fn rates(&self, node: NodeName) -> (Option<Rate>, Option<Rate>) {
        match node {
            NodeName::Bootstrap => (None, None),
            NodeName::Seed(number) => (self.seeds[number as usize], None),
            NodeName::Hostile(_) | NodeName::Client(_) => (self.clients.up, self.clients.down),
        }
    }

    /// Returns all changes that events make to a node, in the order of the events.
    pub fn changes(&self, node: NodeName) -> impl DoubleEndedIterator<Item = Change> {
        self.events.iter().filter(move |event| event.nodes.contains(&node)).map(|event| event.change)
    }

    /// Whether the node does not run from the start, because its earliest event starts it.
    pub fn starts_later(&self, node: NodeName) -> bool {
        self.changes(node).next() == Some(Change::Start)
    }

    /// Whether a client must finish. A client need not finish if an event stops, kills or freezes it, and no later
    /// event starts or resumes it.
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

impl fmt::Display for HostileKind {
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

impl FromStr for HostileKind {
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
    fn a_client_that_is_stopped_or_frozen_for_good_need_not_finish() {
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
    fn names_of_nodes_and_kinds_survive_a_round_trip_through_text() {
        for node in [NodeName::Bootstrap, NodeName::Seed(0), NodeName::Hostile(2), NodeName::Client(31)] {
            assert_eq!(NodeName::try_from(node.to_string()), Ok(node));
        }
        for text in ["", "seed", "seed -1", "bootstrap 1", "Client 1", "client  1"] {
            assert!(NodeName::try_from(text.to_owned()).is_err(), "{text:?}");
        }
        for kind in
            [HostileKind::Corrupt, HostileKind::Stall, HostileKind::Lie, HostileKind::Drip, HostileKind::Oversize]
        {
            assert_eq!(kind.to_string().parse(), Ok(kind));
        }
        assert!("evil".parse::<HostileKind>().unwrap_err().contains("expected one of `corrupt`, `stall`"));
    }

    #[test]
    fn hostile_nodes_are_numbered_by_kind() {
        let hostile = Hostile([(HostileKind::Drip, 1), (HostileKind::Corrupt, 2)].into());
        assert!(hostile.iter().eq([HostileKind::Corrupt, HostileKind::Corrupt, HostileKind::Drip]));
        assert_eq!(hostile.count(), 3);
    }

    #[test]
    fn a_variant_for_comparison_has_no_hostile_nodes_and_no_promises() {
        let hold = toml::from_str("versus_honest = 2.0\nversus_undisturbed = 2.0").unwrap();
        let hostile = Hostile([(HostileKind::Lie, 1)].into());
        let whole = Scenario { hostile, hold, ..Scenario::default() };
        for variant in [Variant::Honest, Variant::Undisturbed] {
            assert_eq!(whole.variant(variant), Scenario::default());
        }
        assert_eq!(whole.variant(Variant::Whole), whole);
    }

    #[test]
    fn t_min_handles_links_without_a_limit() {
        let artifacts = vec![Artifact { size: Size(100_000_000), kind: Kind::Noise }];
        let plain = Scenario { artifacts, seeds: vec![Some(Rate(10e6))], ..Scenario::default() };
        assert!((plain.t_min() - 10.0).abs() < 1e-6);
        let slow = Clients { down: Some(Rate(5e6)), ..Clients::default() };
        assert!((Scenario { clients: slow, ..plain.clone() }.t_min() - 20.0).abs() < 1e-6);
        assert_eq!(Scenario { seeds: vec![None], ..plain }.t_min(), 0.0);
    }
}
