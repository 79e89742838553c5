//! What is simulated.

mod check;
pub(crate) mod file;
mod hold;
mod place;
pub(crate) mod units;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use phase_core::index::ChunkEntry;
use phase_core::{ArtifactIndex, ChunkerParams, Digest, HashAlgorithm};
use phase_protocol::scheduler::{self, Order};

pub use check::{Field, ScenarioError};
pub use file::{Case, FileError, ScenarioFile};
pub use hold::Hold;
pub use units::{Rate, Size};

use crate::report::Variant;

/// One artifact, some seeds that have it, clients that all start at once, and others who do harm.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Determines everything random. Default 0.
    pub seed: u64,
    /// Clients. Default 16.
    pub nodes: u32,
    /// What each honest node that has everything from the start sends, in bytes per second. Default one, 12.5 MB/s: 100 Mbit/s.
    pub seed_up: Vec<f64>,
    /// The size of the artifact in bytes. Default 64 MiB.
    pub size: u64,
    /// What a client sends, in bytes per second. Default as a seed.
    pub up: f64,
    /// What a client receives, in bytes per second. Default 125 MB/s: 1 Gbit/s.
    pub down: f64,
    /// By which part rates differ from node to node, 0 to 0.9. Default 0.2.
    pub spread: f64,
    /// The time from one node to another; each pair has its own between half of this and this. Default 10 ms.
    pub latency: Duration,
    /// Other members of the swarm that each client connects to, about. Default 24.
    pub neighbours: u32,
    /// The part of the clients that nobody can dial: two of them are never connected. Default 0.
    pub nat: f64,
    /// Members of the swarm who do harm, beside the clients.
    pub hostile: Hostile,
    /// Clients that are replaced all the time. Default none.
    pub churn: Option<Churn>,
    /// What happens to single nodes, in any order.
    pub events: Vec<NodeEvent>,
    /// In which order clients ask for chunks. Default rarest first.
    pub order: Order,
    /// Limits of every scheduler.
    pub scheduler: scheduler::Config,
}

/// Members of the swarm who do harm. Clients cannot tell them from others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hostile {
    /// Say that they have everything, and send garbage.
    pub corrupt: u32,
    /// Say that they have everything, and send nothing.
    pub stalled: u32,
    /// Say that they have everything, and refuse each request as missing.
    pub liars: u32,
}

/// Some clients go without a word, and as many new ones come, again and again until the others have finished.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Churn {
    /// The time between two replacements, as a part of T_min.
    pub every: f64,
    /// The part of the clients that is replaced each time.
    pub share: f64,
}

/// Something that happens to one node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct NodeEvent {
    /// To whom.
    pub node: NodeRef,
    /// When.
    pub at: When,
    /// What.
    pub change: Change,
}

/// A node of a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeRef {
    /// A client, from 0.
    Client(u32),
    /// A seed, from 0.
    Seed(u32),
}

/// When something happens.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum When {
    /// So long after the start.
    At(Duration),
    /// When clients have verified this part of all that they need together.
    Progress(f64),
}

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Change {
    /// It goes away without a word. The others notice a second later.
    Lost,
    /// It stays connected, and sends nothing any more.
    Stalled,
    /// It sends this part of what it could before.
    Slow(f64),
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 0,
            nodes: 16,
            seed_up: vec![12.5e6],
            size: 64 << 20,
            up: 12.5e6,
            down: 125e6,
            spread: 0.2,
            latency: Duration::from_millis(10),
            neighbours: 24,
            nat: 0.0,
            hostile: Hostile::default(),
            churn: None,
            events: Vec::new(),
            order: Order::default(),
            scheduler: scheduler::Config::default(),
        }
    }
}

impl Hostile {
    /// All of them.
    pub fn count(self) -> u32 {
        self.corrupt.saturating_add(self.stalled).saturating_add(self.liars)
    }
}

impl fmt::Display for NodeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Client(number) => write!(f, "client {number}"),
            Self::Seed(number) => write!(f, "seed {number}"),
        }
    }
}

impl FromStr for NodeRef {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, number) = text.split_once(' ').unwrap_or((text, ""));
        match (role, number.parse()) {
            ("client", Ok(number)) => Ok(Self::Client(number)),
            ("seed", Ok(number)) => Ok(Self::Seed(number)),
            _ => {
                Err(format!("{text:?} is not a node: expected for instance \"client 3\" or \"seed 0\", counted from 0"))
            }
        }
    }
}

/// What a node can send and receive, in bytes per second.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rates {
    pub(crate) up: f64,
    pub(crate) down: f64,
}

impl Scenario {
    /// The same without members who do harm.
    pub fn honest(&self) -> Self {
        Self { hostile: Hostile::default(), ..self.clone() }
    }

    /// The same without anything that happens to nodes.
    pub fn undisturbed(&self) -> Self {
        Self { churn: None, events: Vec::new(), ..self.clone() }
    }

    /// What of it is run.
    pub fn variant(&self, variant: Variant) -> Self {
        match variant {
            Variant::Whole => self.clone(),
            Variant::Honest => self.honest(),
            Variant::Undisturbed => self.undisturbed(),
        }
    }

    /// The artifact: chunks of random lengths with the chunker's average. Their content is never looked at.
    pub(crate) fn index(&self, rng: &mut Rng) -> Arc<ArtifactIndex> {
        let params = ChunkerParams::default();
        let mut left = self.size;
        let mut chunks = Vec::new();
        while left > 0 {
            let len = rng.u32(params.avg() / 2..=params.avg() / 2 * 3);
            let len = u32::try_from(left).map_or(len, |left| len.min(left));
            chunks.push(ChunkEntry { digest: Digest::new([0; 32]), len });
            left -= u64::from(len);
        }
        let digest = Digest::new([0; 32]);
        let index = ArtifactIndex::new(params, HashAlgorithm::Blake3, digest, chunks);
        Arc::new(index.expect("the lengths are within the chunker's bounds"))
    }

    /// What each node can do: seeds first, exactly as listed, then clients, then those who do harm (corrupt, stalled,
    /// liars), with the rates of clients.
    pub(crate) fn rates(&self, rng: &mut Rng) -> Vec<Rates> {
        let seeds = self.seed_up.iter().map(|up| Rates { up: *up, down: self.down });
        let others = self.nodes + self.hostile.count();
        seeds.chain((0..others).map(|_| self.newcomer_rates(rng))).collect()
    }

    /// What one more client can do.
    pub(crate) fn newcomer_rates(&self, rng: &mut Rng) -> Rates {
        let mut vary = |rate: f64| rate * (1.0 + self.spread * (2.0 * rng.f64() - 1.0));
        Rates { up: vary(self.up), down: vary(self.down) }
    }

    /// The shortest time in which any scheme could finish: `max(F/Σu_s, F/d, N·F/(Σu_s + Σu_i))` (Kumar and Ross
    /// 2006). Nodes to which something happens count as if nothing did, and nobody counts on those who do harm.
    pub(crate) fn bound(&self, rates: &[Rates]) -> Duration {
        let (seeds, others) = rates.split_at(self.seed_up.len());
        let clients = &others[..self.nodes as usize];
        let seed_up: f64 = seeds.iter().map(|rates| rates.up).sum();
        let all_up = seed_up + clients.iter().map(|rates| rates.up).sum::<f64>();
        let slowest = clients.iter().map(|rates| rates.down).fold(f64::INFINITY, f64::min);
        let size = self.size as f64;
        let bounds = [size / seed_up, size / slowest, f64::from(self.nodes) * size / all_up];
        Duration::from_secs_f64(bounds.into_iter().fold(0.0, f64::max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_seeds_then_clients_then_who_does_harm() {
        let hostile = Hostile { corrupt: 1, stalled: 1, liars: 1 };
        let scenario = Scenario { seed_up: vec![1e6, 2e6], nodes: 2, hostile, ..Scenario::default() };
        let rates = scenario.rates(&mut Rng::with_seed(0));
        assert_eq!(rates.len(), 7);
        assert_eq!([rates[0].up, rates[1].up], [1e6, 2e6], "seeds send what is listed");
        for Rates { up, down } in &rates[2..] {
            assert!((0.8..=1.2).contains(&(up / scenario.up)) && (0.8..=1.2).contains(&(down / scenario.down)));
        }
        assert_ne!(rates[2].up, rates[3].up);
    }

    #[test]
    fn the_bound_is_that_of_whatever_is_short() {
        let plain = Scenario { spread: 0.0, size: 100_000_000, seed_up: vec![10e6], ..Scenario::default() };
        let cases = [
            // The seeds, the slowest downlink, all uplinks together.
            (Scenario { nodes: 1, ..plain.clone() }, 10.0),
            (Scenario { nodes: 1, seed_up: vec![30e6, 10e6], ..plain.clone() }, 2.5),
            (Scenario { nodes: 1, down: 5e6, ..plain.clone() }, 20.0),
            (Scenario { nodes: 9, up: 5e6, ..plain.clone() }, 900.0 / 55.0),
            (Scenario { nodes: 1, hostile: Hostile { stalled: 9, ..Hostile::default() }, ..plain.clone() }, 10.0),
        ];
        for (scenario, seconds) in cases {
            let rates = scenario.rates(&mut Rng::with_seed(0));
            let bound = scenario.bound(&rates).as_secs_f64();
            assert!((bound - seconds).abs() < 1e-6, "{bound} is not {seconds}: {scenario:?}");
        }
    }

    #[test]
    fn the_chunks_make_up_the_artifact() {
        for size in [1, 100_000, 64 << 20] {
            let index = Scenario { size, ..Scenario::default() }.index(&mut Rng::with_seed(3));
            assert_eq!(index.size(), size);
        }
    }

    #[test]
    fn nodes_have_names() {
        for node in [NodeRef::Client(7), NodeRef::Seed(0)] {
            assert_eq!(node.to_string().parse(), Ok(node));
        }
        for text in ["", "client", "client -1", "seed x", "peer 1", "seed  1"] {
            assert!(text.parse::<NodeRef>().is_err(), "{text:?}");
        }
    }
}
