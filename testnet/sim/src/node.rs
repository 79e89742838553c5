//! One node: its scheduler, its uplink, and what it has.

use std::collections::BTreeSet;
use std::time::Duration;

use phase_core::ChunkSet;
use phase_protocol::PeerKey;
use phase_protocol::scheduler::Scheduler;
use phase_scenario::Harm;

use crate::uplink::Uplink;

/// A member of the swarm.
pub(crate) struct Node {
    /// What it does to chunks, unless it is honest.
    pub(crate) harm: Option<Harm>,
    pub(crate) alive: bool,
    /// It can be dialled.
    pub(crate) is_open: bool,
    /// Clients only.
    pub(crate) scheduler: Option<Scheduler>,
    /// When the scheduler wants to be woken, as far as that is in the queue.
    pub(crate) timer: Option<Duration>,
    pub(crate) have: ChunkSet,
    /// What is to be told to the neighbours.
    pub(crate) fresh: ChunkSet,
    /// When neighbours were last told, or will be.
    pub(crate) told: Option<Duration>,
    pub(crate) peers: BTreeSet<PeerKey>,
    /// Bytes per second that it can take in.
    pub(crate) down: f64,
    /// When the downlink has taken in what is on its way.
    pub(crate) down_free: Duration,
    pub(crate) finished: Option<Duration>,
    pub(crate) uplink: Uplink,
}

impl Node {
    /// Whether it is a client that has not got everything.
    pub(crate) fn is_fetching(&self) -> bool {
        self.alive && self.scheduler.is_some() && self.finished.is_none()
    }
}
