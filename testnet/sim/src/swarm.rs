//! The state of a simulation: all nodes, and the queue of future events.

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

/// The artifact slot of every download, because all artifacts of a scenario are simulated as one artifact.
pub(crate) const SLOT: ArtifactSlot = ArtifactSlot(0);
/// The time after which the peers of a killed node notice that the connection is lost.
pub(crate) const NOTICE: Duration = Duration::from_secs(1);

/// A message from one node to another.
pub(crate) enum Message {
    Request {
        id: RequestId,
        range: ChunkRange,
    },
    Cancel {
        id: RequestId,
    },
    Have(HaveUpdate),
    Chunk {
        request: RequestId,
        chunk: ChunkIndex,
    },
    Done {
        request: RequestId,
    },
    Refused {
        request: RequestId,
        refusal: Refusal,
    },
    /// The sender was killed, or it closed the connection.
    Gone,
}

/// An event in the queue of the simulation.
pub(crate) enum SimEvent {
    /// A message arrives at a node.
    Delivery { to: u32, from: u32, message: Message },
    /// The uplink of a node has sent a chunk, or its upload queue has a timeout.
    Uplink { node: u32 },
    /// The timer of a client's scheduler has expired.
    Timer { node: u32 },
    /// It is time for a client to send a have update.
    HaveUpdate { node: u32 },
    /// An event of the scenario happens. The number is the event's position in the scenario's list of events.
    Scenario(usize),
    /// Churn replaces some clients.
    Churn,
}

/// The state of a simulated run: its nodes, its queue of events and its virtual time.
pub(crate) struct Swarm<'a> {
    pub(crate) scenario: &'a Scenario,
    /// Whether the invariants of a client's scheduler are checked after every event that the scheduler handles.
    pub(crate) is_checked: bool,
    /// The [`Instant`] that represents virtual time zero.
    pub(crate) base: Instant,
    /// The current virtual time.
    pub(crate) now: Duration,
    pub(crate) rng: Rng,
    pub(crate) queue: Queue<SimEvent>,
    /// All nodes in this order: seeds, clients, hostile nodes, clients that churn has added.
    pub(crate) nodes: Vec<Node>,
    /// Live clients and hostile nodes, from which clients choose their neighbours.
    pub(crate) neighbour_pool: Vec<u32>,
    pub(crate) index: Arc<ArtifactIndex>,
    pub(crate) t_min: Duration,
    pub(crate) latency_seed: u64,
    /// The number of live clients that have not finished.
    pub(crate) unfinished: usize,
    /// The number of live, unfinished clients that ran from the start. Churn ends when this number is 0.
    pub(crate) unfinished_first: usize,
    /// The events that happen at a given progress. Each entry has the number of chunks that all clients together must
    /// have verified, and the position of the event in the scenario. Sorted in descending order, so that `pop` takes
    /// the next event.
    pub(crate) progress_events: Vec<(u64, usize)>,
    /// The number of chunks that all clients together have verified.
    pub(crate) verified: u64,
    /// The number of times that a client banned a peer.
    pub(crate) bans: u64,
    pub(crate) watch: Watch,
}

impl Swarm<'_> {
    /// Sends a message that carries no chunk. It arrives after the latency between the two nodes, and uses no
    /// bandwidth.
    pub(crate) fn send(&mut self, from: u32, to: u32, message: Message) {
        let at = self.now + self.latency(from, to);
        self.queue.add(at, SimEvent::Delivery { to, from, message });
    }

    /// Returns the one-way latency of a pair of nodes. It is constant and the same in both directions.
    pub(crate) fn latency(&self, one: u32, other: u32) -> Duration {
        let pair = u64::from(one.min(other)) << 32 | u64::from(one.max(other));
        let part = Rng::with_seed(self.latency_seed ^ pair.wrapping_mul(0x9e37_79b9_7f4a_7c15)).f64();
        self.scenario.network.latency.mul_f64(0.5 + part / 2.0)
    }

    /// Returns the number of seeds.
    pub(crate) fn seeds(&self) -> usize {
        self.scenario.seeds.len()
    }

    /// Whether a node is a client that runs from the start, rather than a client that churn has added.
    pub(crate) fn is_first_client(&self, node: usize) -> bool {
        (self.seeds()..self.seeds() + self.scenario.clients.count as usize).contains(&node)
    }

    /// Returns the current virtual time as an [`Instant`], because the state machines take this type.
    pub(crate) fn instant(&self) -> Instant {
        self.base + self.now
    }
}

pub(crate) fn key(node: u32) -> PeerKey {
    PeerKey(u64::from(node))
}

pub(crate) fn number(key: PeerKey) -> u32 {
    u32::try_from(key.0).expect("every peer key is a node number")
}

#[expect(
    clippy::disallowed_methods,
    reason = "virtual time needs a first instant, and std makes instants only by reading the clock"
)]
pub(crate) fn some_instant() -> Instant {
    Instant::now()
}
