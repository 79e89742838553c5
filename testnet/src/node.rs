//! One node: its scheduler, its upload queue, its uplink, and what it has.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange, ChunkSet};
use phase_transfer::peer::PeerKey;
use phase_transfer::scheduler::{RequestId, Scheduler};
use phase_transfer::upload::{self, JobId, TransferKey, UploadQueue};
use phase_transfer::wire::Refusal;

use crate::scenario::Rates;

/// How a node serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    Honest,
    Corrupt,
    Stalled,
}

pub(crate) struct Node {
    pub(crate) rates: Rates,
    pub(crate) manner: Manner,
    pub(crate) alive: bool,
    /// Clients only.
    pub(crate) scheduler: Option<Scheduler>,
    /// When the scheduler wants to be woken, as far as that is in the queue.
    pub(crate) timer: Option<Duration>,
    pub(crate) have: ChunkSet,
    /// What is to be told to the neighbours.
    pub(crate) fresh: ChunkSet,
    pub(crate) peers: BTreeSet<PeerKey>,
    /// When the downlink has taken in what is on its way.
    pub(crate) down_free: Duration,
    pub(crate) finished: Option<Duration>,
    pub(crate) sent: u64,
    pub(crate) uplink: Uplink,
}

/// Everything between a request and the network. Chunks leave one after the other, taking turns by peer as fair
/// transport connections would.
pub(crate) struct Uplink {
    index: Arc<ArtifactIndex>,
    queue: UploadQueue,
    next: u64,
    open: BTreeMap<TransferKey, Open>,
    keys: BTreeMap<(PeerKey, RequestId), TransferKey>,
    waiting: BTreeMap<PeerKey, VecDeque<Outgoing>>,
    turns: VecDeque<PeerKey>,
    /// What is being sent now.
    pub(crate) current: Option<Outgoing>,
}

struct Open {
    peer: PeerKey,
    request: RequestId,
    under_way: usize,
    ending: bool,
}

/// A chunk on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    pub(crate) to: PeerKey,
    pub(crate) request: RequestId,
    pub(crate) chunk: ChunkIndex,
    transfer: TransferKey,
    /// Set on the last chunk of a job.
    job: Option<JobId>,
}

impl Uplink {
    pub(crate) fn new(index: Arc<ArtifactIndex>) -> Self {
        Self {
            index,
            queue: UploadQueue::new(upload::Config::default()),
            next: 0,
            open: BTreeMap::new(),
            keys: BTreeMap::new(),
            waiting: BTreeMap::new(),
            turns: VecDeque::new(),
            current: None,
        }
    }

    pub(crate) fn request(
        &mut self,
        now: Instant,
        peer: PeerKey,
        request: RequestId,
        ranges: Vec<ChunkRange>,
    ) -> Result<(), Refusal> {
        let key = TransferKey(self.next);
        self.queue.push(now, peer, key, self.index.clone(), ranges)?;
        self.next += 1;
        self.open.insert(key, Open { peer, request, under_way: 0, ending: false });
        self.keys.insert((peer, request), key);
        Ok(())
    }

    /// Starts nothing more of a request. Returns whether it has ended with that.
    pub(crate) fn cancel(&mut self, peer: PeerKey, request: RequestId) -> bool {
        let Some(key) = self.keys.get(&(peer, request)).copied() else { return false };
        self.queue.cancel(key);
        if let Some(open) = self.open.get_mut(&key) {
            open.ending = true;
        }
        self.end_if_over(key)
    }

    pub(crate) fn peer_lost(&mut self, peer: PeerKey) {
        self.queue.peer_lost(peer);
        self.open.values_mut().filter(|open| open.peer == peer).for_each(|open| open.ending = true);
        let over: Vec<_> = self.open.iter().filter(|(_, open)| open.peer == peer).map(|(key, _)| *key).collect();
        for key in over {
            self.end_if_over(key);
        }
    }

    /// The next chunk to send, if nothing is being sent.
    pub(crate) fn start(&mut self, now: Instant) -> Option<Outgoing> {
        if self.current.is_some() {
            return None;
        }
        while let Some(job) = self.queue.pop(now) {
            let open = self.open.get_mut(&job.transfer).expect("a job belongs to an open transfer");
            open.under_way += 1;
            open.ending |= job.last;
            let last = job.run.end - 1;
            let chunks = job.run.iter().map(|chunk| Outgoing {
                to: open.peer,
                request: open.request,
                chunk,
                transfer: job.transfer,
                job: (chunk.0 == last).then_some(job.id),
            });
            let waiting = self.waiting.entry(open.peer).or_default();
            if waiting.is_empty() {
                self.turns.push_back(open.peer);
            }
            waiting.extend(chunks);
        }
        let peer = self.turns.pop_front()?;
        let waiting = self.waiting.get_mut(&peer).expect("who has a turn has something to send");
        self.current = waiting.pop_front();
        if waiting.is_empty() {
            self.waiting.remove(&peer);
        } else {
            self.turns.push_back(peer);
        }
        self.current
    }

    /// The chunk has left. Returns it, and whether its request has ended with that.
    pub(crate) fn sent(&mut self, now: Instant) -> Option<(Outgoing, bool)> {
        let outgoing = self.current.take()?;
        let Some(job) = outgoing.job else { return Some((outgoing, false)) };
        self.queue.complete(now, job);
        self.open.get_mut(&outgoing.transfer).expect("a job belongs to an open transfer").under_way -= 1;
        let ended = self.end_if_over(outgoing.transfer);
        Some((outgoing, ended))
    }

    fn end_if_over(&mut self, key: TransferKey) -> bool {
        let is_over = self.open.get(&key).is_some_and(|open| open.ending && open.under_way == 0);
        if is_over && let Some(open) = self.open.remove(&key) {
            self.keys.remove(&(open.peer, open.request));
        }
        is_over
    }
}
