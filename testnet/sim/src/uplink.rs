//! Everything between a request and the network: the upload queue, and what leaves for each peer.
//!
//! The peers that are being served share the uplink evenly, as transport connections would; to each of them chunks leave in
//! order. Generalised processor sharing (Parekh and Gallager 1993): a virtual clock counts the bytes that each flow has got,
//! so that the end of a chunk needs to be computed once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange};
use phase_protocol::PeerKey;
use phase_protocol::scheduler::RequestId;
use phase_protocol::upload::{self, JobId, TransferKey, UploadQueue};
use phase_protocol::wire::Refusal;

/// Sends what is asked for.
pub(crate) struct Uplink {
    index: Arc<ArtifactIndex>,
    queue: UploadQueue,
    next: u64,
    open: BTreeMap<TransferKey, Open>,
    keys: BTreeMap<(PeerKey, RequestId), TransferKey>,
    flows: BTreeMap<PeerKey, Flow>,
    /// Bytes per second.
    rate: f64,
    /// Bytes that a flow would have got that has been there all the time.
    clock: f64,
    /// When the clock was last set.
    at: Duration,
    /// Chunks that have left, in bytes.
    pub(crate) sent: u64,
    /// When the next event of this uplink is due, if one is in the queue: an earlier one makes it void.
    pub(crate) due: Option<Duration>,
}

/// A request that has not ended.
struct Open {
    peer: PeerKey,
    request: RequestId,
    under_way: usize,
    ending: bool,
}

/// What is on its way to one peer.
struct Flow {
    chunks: VecDeque<Outgoing>,
    /// What the clock will show when the first of them has left.
    ends: f64,
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
    pub(crate) fn new(index: Arc<ArtifactIndex>, rate: f64) -> Self {
        Self {
            index,
            queue: UploadQueue::new(upload::Config::default()),
            next: 0,
            open: BTreeMap::new(),
            keys: BTreeMap::new(),
            flows: BTreeMap::new(),
            rate,
            clock: 0.0,
            at: Duration::ZERO,
            sent: 0,
            due: None,
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
        let of_peer = self.keys.range((peer, RequestId(0))..=(peer, RequestId(u32::MAX)));
        for key in of_peer.map(|(_, key)| *key).collect::<Vec<_>>() {
            if let Some(open) = self.open.get_mut(&key) {
                open.ending = true;
            }
            self.end_if_over(key);
        }
    }

    /// From now on it sends at another rate, in bytes per second.
    pub(crate) fn set_rate(&mut self, at: Duration, rate: f64) {
        self.advance(at);
        self.rate = rate;
    }

    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// Starts what the queue gives out. Returns when the next chunk will have left, if anything is under way.
    pub(crate) fn start(&mut self, at: Duration, now: Instant) -> Option<Duration> {
        self.advance(at);
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
            match self.flows.get_mut(&open.peer) {
                Some(flow) => flow.chunks.extend(chunks),
                None => {
                    let flow = Flow { chunks: chunks.collect(), ends: 0.0 };
                    let ends = self.clock + len(&self.index, flow.chunks[0]);
                    self.flows.insert(open.peer, Flow { ends, ..flow });
                }
            }
        }
        let first = self.flows.values().map(|flow| flow.ends).min_by(f64::total_cmp)?;
        let seconds = (first - self.clock).max(0.0) * self.flows.len() as f64 / self.rate;
        let sending = (self.rate > 0.0).then(|| at + Duration::from_secs_f64(seconds) + Duration::from_nanos(1));
        let waiting = self.queue.poll_timeout(now).map(|then| at + then.saturating_duration_since(now));
        sending.into_iter().chain(waiting).min()
    }

    /// A chunk that has left by now, and whether its request has ended with that.
    pub(crate) fn take_sent(&mut self, at: Duration, now: Instant) -> Option<(Outgoing, bool)> {
        self.advance(at);
        let (peer, _) = self.flows.iter().find(|(_, flow)| flow.ends <= self.clock + TOLERANCE)?;
        let peer = *peer;
        let flow = self.flows.get_mut(&peer).expect("it was found this moment");
        let outgoing = flow.chunks.pop_front().expect("a flow without chunks is no flow");
        match flow.chunks.front() {
            Some(next) => flow.ends += len(&self.index, *next),
            None => {
                self.flows.remove(&peer);
            }
        }
        self.sent += len(&self.index, outgoing) as u64;
        let Some(job) = outgoing.job else { return Some((outgoing, false)) };
        self.queue.complete(now, job);
        self.open.get_mut(&outgoing.transfer).expect("a job belongs to an open transfer").under_way -= 1;
        let ended = self.end_if_over(outgoing.transfer);
        Some((outgoing, ended))
    }

    fn advance(&mut self, at: Duration) {
        if !self.flows.is_empty() {
            let elapsed = at.saturating_sub(self.at).as_secs_f64();
            self.clock += elapsed * self.rate / self.flows.len() as f64;
        }
        self.at = at;
    }

    fn end_if_over(&mut self, key: TransferKey) -> bool {
        let is_over = self.open.get(&key).is_some_and(|open| open.ending && open.under_way == 0);
        if is_over && let Some(open) = self.open.remove(&key) {
            self.keys.remove(&(open.peer, open.request));
        }
        is_over
    }
}

/// Bytes by which the clock may be behind: times are in whole nanoseconds.
const TOLERANCE: f64 = 1.0;

fn len(index: &ArtifactIndex, outgoing: Outgoing) -> f64 {
    f64::from(index.chunk(outgoing.chunk).expect("chunks of the artifact are sent").len)
}
