//! What is simulated.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use phase_core::index::ChunkEntry;
use phase_core::{ArtifactIndex, ChunkerParams, Digest, HashAlgorithm};
use phase_transfer::scheduler;

/// The most nodes: beyond this a run takes minutes.
const MAX_NODES: u32 = 4096;
/// The largest artifact, in bytes.
const MAX_SIZE: u64 = 16 << 30;

/// One artifact, some seeds that have it, and clients that all start at once.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// Determines everything random. Default 0.
    pub seed: u64,
    /// Clients. Default 16.
    pub nodes: u32,
    /// Honest nodes that have everything from the start. Default 1.
    pub seeds: u32,
    /// The size of the artifact in bytes. Default 64 MiB.
    pub size: u64,
    /// What a seed sends, in bytes per second. Default 12.5 MB/s: 100 Mbit/s.
    pub seed_up: f64,
    /// What a client sends, in bytes per second. Default as a seed.
    pub up: f64,
    /// What a client receives, in bytes per second. Default 125 MB/s: 1 Gbit/s.
    pub down: f64,
    /// By which part rates differ from node to node, 0 to 0.9. Default 0.2.
    pub spread: f64,
    /// The time from one node to another; each pair has its own between half of this and this. Default 10 ms.
    pub latency: Duration,
    /// Other clients that each client connects to, at most. Default 32.
    pub neighbours: u32,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// Limits of every scheduler.
    pub scheduler: scheduler::Config,
}

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Fault {
    /// A client goes away without a word. The others notice a second later.
    Lost {
        /// Which client, from 0.
        node: u32,
        /// When.
        at: Duration,
    },
    /// One more node that says it has everything, and sends garbage.
    Corrupt,
    /// One more node that says it has everything, and sends nothing.
    Stalled,
}

impl Default for Scenario {
    fn default() -> Self {
        Self {
            seed: 0,
            nodes: 16,
            seeds: 1,
            size: 64 << 20,
            seed_up: 12.5e6,
            up: 12.5e6,
            down: 125e6,
            spread: 0.2,
            latency: Duration::from_millis(10),
            neighbours: 32,
            faults: Vec::new(),
            scheduler: scheduler::Config::default(),
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
    /// # Errors
    /// If a value is out of its range.
    pub fn check(&self) -> Result<(), ScenarioError> {
        let rates = [self.seed_up, self.up, self.down];
        let lost = self.faults.iter().all(|fault| !matches!(fault, Fault::Lost { node, .. } if *node >= self.nodes));
        let problem = if self.nodes == 0 || self.nodes > MAX_NODES {
            "between 1 and 4096 nodes are simulated"
        } else if self.seeds == 0 || self.seeds > MAX_NODES {
            "between 1 and 4096 seeds are simulated"
        } else if self.size == 0 || self.size > MAX_SIZE {
            "the size must be between 1 byte and 16 GiB"
        } else if !rates.iter().all(|rate| rate.is_finite() && *rate >= 1.0) {
            "rates must be at least 1 byte per second"
        } else if !(0.0..=0.9).contains(&self.spread) {
            "the spread must be between 0 and 0.9"
        } else if !lost {
            "a node that gets lost must be one of the clients"
        } else {
            return Ok(());
        };
        Err(ScenarioError(problem))
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

    /// What each node can do: seeds first, then clients, then those that only do harm.
    pub(crate) fn rates(&self, rng: &mut Rng) -> Vec<Rates> {
        let mut vary = |rate: f64| rate * (1.0 + self.spread * (2.0 * rng.f64() - 1.0));
        let mut rates = Vec::new();
        rates.extend((0..self.seeds).map(|_| Rates { up: vary(self.seed_up), down: self.down }));
        rates.extend((0..self.nodes).map(|_| Rates { up: vary(self.up), down: vary(self.down) }));
        let harmful = self.faults.iter().filter(|fault| !matches!(fault, Fault::Lost { .. }));
        rates.extend(harmful.map(|_| Rates { up: self.seed_up, down: self.down }));
        rates
    }

    /// The shortest time in which any scheme could finish: `max(F/u_s, F/d, N·F/(u_s + Σu_i))` (Kumar and Ross 2006).
    /// Nodes that get lost count as if they stayed.
    pub(crate) fn bound(&self, rates: &[Rates]) -> Duration {
        let seeds = self.seeds as usize;
        let clients = &rates[seeds..seeds + self.nodes as usize];
        let seed_up: f64 = rates[..seeds].iter().map(|rates| rates.up).sum();
        let all_up = seed_up + clients.iter().map(|rates| rates.up).sum::<f64>();
        let slowest = clients.iter().map(|rates| rates.down).fold(f64::INFINITY, f64::min);
        let size = self.size as f64;
        let bounds = [size / seed_up, size / slowest, f64::from(self.nodes) * size / all_up];
        Duration::from_secs_f64(bounds.into_iter().fold(0.0, f64::max))
    }
}

/// A scenario that cannot be simulated.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ScenarioError(&'static str);
