//! The state of a simulation: all nodes, what is under way between them, and what happens next.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fastrand::Rng;
use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange};
use phase_protocol::PeerKey;
use phase_protocol::scheduler::{ArtifactSlot, HaveUpdate, RequestId};
use phase_protocol::wire::Refusal;
use phase_scenario::Scenario;

use crate::node::Node;
use crate::queue::Queue;
use crate::watch::Watch;

/// The only artifact.
pub(crate) const SLOT: ArtifactSlot = ArtifactSlot(0);
/// How long it takes until a node that is gone is noticed.
pub(crate) const NOTICE: Duration = Duration::from_secs(1);

/// What one node hears from another.
pub(crate) enum Message {
    Request { id: RequestId, range: ChunkRange },
    Cancel { id: RequestId },
    Have(HaveUpdate),
    Chunk { request: RequestId, chunk: ChunkIndex },
    Done { request: RequestId },
    Refused { request: RequestId, refusal: Refusal },
    Gone,
}

pub(crate) enum Happening {
    Heard {
        to: u32,
        from: u32,
        message: Message,
    },
    /// Something is due at the uplink: a chunk has left, or one may.
    Uplink {
        node: u32,
    },
    Timer {
        node: u32,
    },
    Tell {
        node: u32,
    },
    Event(usize),
    Churn,
}

/// All nodes and what is under way between them.
pub(crate) struct Swarm<'a> {
    pub(crate) scenario: &'a Scenario,
    /// Whether the invariants of schedulers are checked after every event.
    pub(crate) is_checked: bool,
    pub(crate) base: Instant,
    pub(crate) now: Duration,
    pub(crate) rng: Rng,
    pub(crate) queue: Queue<Happening>,
    /// Seeds, clients, hostile nodes, then those who came later.
    pub(crate) nodes: Vec<Node>,
    /// Clients and hostile nodes, as long as they are there.
    pub(crate) members: Vec<u32>,
    pub(crate) index: Arc<ArtifactIndex>,
    pub(crate) t_min: Duration,
    pub(crate) latency_seed: u64,
    /// Clients that are there and have not finished.
    pub(crate) unfinished: usize,
    /// Those of the first clients that are there and have not finished.
    pub(crate) unfinished_first: usize,
    /// Events that wait for progress, the next one last.
    pub(crate) awaited: Vec<(u64, usize)>,
    /// Chunks that clients have verified, all together.
    pub(crate) verified: u64,
    pub(crate) bans: u64,
    pub(crate) watch: Watch,
}

impl Swarm<'_> {
    /// Sends a message that takes no room on any line.
    pub(crate) fn send(&mut self, from: u32, to: u32, message: Message) {
        let at = self.now + self.latency(from, to);
        self.queue.add(at, Happening::Heard { to, from, message });
    }

    /// The same for a pair in both directions and at all times.
    pub(crate) fn latency(&self, one: u32, other: u32) -> Duration {
        let pair = u64::from(one.min(other)) << 32 | u64::from(one.max(other));
        let part = Rng::with_seed(self.latency_seed ^ pair.wrapping_mul(0x9e37_79b9_7f4a_7c15)).f64();
        self.scenario.network.latency.mul_f64(0.5 + part / 2.0)
    }

    pub(crate) fn seeds(&self) -> usize {
        self.scenario.seeds.len()
    }

    /// Whether a node is one of the clients that were there from the start.
    pub(crate) fn is_first_client(&self, node: usize) -> bool {
        (self.seeds()..self.seeds() + self.scenario.clients.count as usize).contains(&node)
    }

    pub(crate) fn instant(&self) -> Instant {
        self.base + self.now
    }
}

pub(crate) fn key(node: u32) -> PeerKey {
    PeerKey(u64::from(node))
}

pub(crate) fn number(key: PeerKey) -> u32 {
    u32::try_from(key.0).expect("keys are made from numbers of nodes")
}

#[expect(clippy::disallowed_methods, reason = "virtual time begins at some instant: one cannot be made from a number")]
pub(crate) fn some_instant() -> Instant {
    Instant::now()
}
