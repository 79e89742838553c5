//! The state of one node: its scheduler, its uplink and its chunks.

use std::collections::BTreeSet;
use std::time::Duration;

use phase_core::ChunkSet;
use phase_protocol::PeerKey;
use phase_protocol::scheduler::Scheduler;
use phase_scenario::HostileKind;

use crate::uplink::Uplink;

/// A simulated node.
pub(crate) struct Node {
    /// The kind of hostile node, or `None` if the node is honest.
    pub(crate) hostile_kind: Option<HostileKind>,
    pub(crate) alive: bool,
    /// Whether other nodes can dial this node. A client behind NAT cannot be dialled.
    pub(crate) is_open: bool,
    /// The scheduler of a client; `None` on seeds and hostile nodes.
    pub(crate) scheduler: Option<Scheduler>,
    /// The virtual time of the scheduler's next timer event. `None` if no timer event is queued.
    pub(crate) timer: Option<Duration>,
    /// The chunks that the node has.
    pub(crate) have: ChunkSet,
    /// The verified chunks that the node's next have update will contain.
    pub(crate) unannounced: ChunkSet,
    /// The virtual time at which the node last sent a have update.
    pub(crate) last_have_update: Option<Duration>,
    /// The connected peers.
    pub(crate) peers: BTreeSet<PeerKey>,
    /// The download rate in bytes per second.
    pub(crate) down: f64,
    /// The virtual time at which the downlink will have received all chunks that were sent to this node.
    pub(crate) down_free: Duration,
    /// The virtual time at which the client had all chunks, or `None` if chunks are missing.
    pub(crate) finished: Option<Duration>,
    pub(crate) uplink: Uplink,
}

impl Node {
    /// Whether the node is a live client that lacks chunks.
    pub(crate) fn is_fetching(&self) -> bool {
        self.alive && self.scheduler.is_some() && self.finished.is_none()
    }
}
