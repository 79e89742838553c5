//! The uplink of a node: its upload queue, and the chunks that it is sending to each peer.
//!
//! The chunks for one peer are a flow, and are sent in order. All flows get the same part of the upload rate, as
//! transport connections would. This is generalised processor sharing (Parekh and Gallager 1993).
//!
//! A virtual clock advances by one while each flow sends one byte. The value of this clock at the end of a chunk does
//! not change when flows begin or end, so it is computed only once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use phase_core::{ArtifactIndex, ChunkIndex, ChunkRange};
use phase_protocol::PeerKey;
use phase_protocol::scheduler::RequestId;
use phase_protocol::upload::{self, JobId, TransferKey, UploadQueue};
use phase_protocol::wire::Refusal;

/// The uplink of a node. It accepts requests and sends their chunks.
pub(crate) struct Uplink {
    index: Arc<ArtifactIndex>,
    queue: UploadQueue,
    /// The key for the next transfer.
    next: u64,
    open: BTreeMap<TransferKey, OpenRequest>,
    keys: BTreeMap<(PeerKey, RequestId), TransferKey>,
    flows: BTreeMap<PeerKey, Flow>,
    /// The upload rate in bytes per second.
    rate: f64,
    /// The virtual clock. It advances by one while each flow sends one byte.
    clock: f64,
    /// The time of the last update of `clock`.
    at: Duration,
    /// The total number of bytes in the chunks that were sent.
    pub(crate) sent: u64,
    /// The time of the uplink's next event, or `None` if there is no such event. An event of this uplink that was
    /// queued for another time is outdated, and is ignored.
    pub(crate) due: Option<Duration>,
}

/// A request that has not ended.
struct OpenRequest {
    peer: PeerKey,
    request: RequestId,
    /// The number of jobs that were started and have not been sent completely.
    running_jobs: usize,
    /// Whether no more jobs of the request will start, for instance because it was cancelled.
    ending: bool,
}

/// The chunks that are being sent to one peer.
struct Flow {
    chunks: VecDeque<Outgoing>,
    /// The value of the virtual clock at which the first chunk in `chunks` will have been sent completely.
    ends: f64,
}

/// A chunk that is being sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing {
    pub(crate) to: PeerKey,
    pub(crate) request: RequestId,
    pub(crate) chunk: ChunkIndex,
    transfer: TransferKey,
    /// The job that ends with this chunk. `None` if the chunk is not the last of its job.
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

    /// Accepts a request. If the upload queue refuses the request, returns the refusal.
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
        self.open.insert(key, OpenRequest { peer, request, running_jobs: 0, ending: false });
        self.keys.insert((peer, request), key);
        Ok(())
    }

    /// Cancels the jobs of a request that have not started. Returns whether the request has ended. It has not ended if
    /// one of its jobs is running.
    pub(crate) fn cancel(&mut self, peer: PeerKey, request: RequestId) -> bool {
        let Some(key) = self.keys.get(&(peer, request)).copied() else { return false };
        self.queue.cancel(key);
        if let Some(open) = self.open.get_mut(&key) {
            open.ending = true;
        }
        self.end_if_finished(key)
    }

    pub(crate) fn peer_lost(&mut self, peer: PeerKey) {
        self.queue.peer_lost(peer);
        let of_peer = self.keys.range((peer, RequestId(0))..=(peer, RequestId(u32::MAX)));
        for key in of_peer.map(|(_, key)| *key).collect::<Vec<_>>() {
            if let Some(open) = self.open.get_mut(&key) {
                open.ending = true;
            }
            self.end_if_finished(key);
        }
    }

    /// Changes the upload rate, in bytes per second.
    pub(crate) fn set_rate(&mut self, at: Duration, rate: f64) {
        self.advance(at);
        self.rate = rate;
    }

    pub(crate) fn rate(&self) -> f64 {
        self.rate
    }

    /// Starts all jobs that the upload queue permits. Returns the time of the uplink's next event: a chunk has been
    /// sent completely, or the upload queue has a timeout. Returns `None` if no chunk is being sent, or if the upload
    /// rate is 0 and the upload queue has no timeout.
    pub(crate) fn start(&mut self, at: Duration, now: Instant) -> Option<Duration> {
        self.advance(at);
        while let Some(job) = self.queue.pop(now) {
            let open = self.open.get_mut(&job.transfer).expect("a job belongs to an open transfer");
            open.running_jobs += 1;
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

    /// Removes a chunk that has been sent completely. Returns the chunk, and whether the request for it has ended.
    pub(crate) fn take_sent(&mut self, at: Duration, now: Instant) -> Option<(Outgoing, bool)> {
        self.advance(at);
        let (peer, _) = self.flows.iter().find(|(_, flow)| flow.ends <= self.clock + TOLERANCE)?;
        let peer = *peer;
        let flow = self.flows.get_mut(&peer).expect("the flow was found above");
        let outgoing = flow.chunks.pop_front().expect("a flow without chunks is removed");
        match flow.chunks.front() {
            Some(next) => flow.ends += len(&self.index, *next),
            None => {
                self.flows.remove(&peer);
            }
        }
        self.sent += len(&self.index, outgoing) as u64;
        let Some(job) = outgoing.job else { return Some((outgoing, false)) };
        self.queue.complete(now, job);
        self.open.get_mut(&outgoing.transfer).expect("a job belongs to an open transfer").running_jobs -= 1;
        let ended = self.end_if_finished(outgoing.transfer);
        Some((outgoing, ended))
    }

    /// Advances the virtual clock to the time `at`.
    fn advance(&mut self, at: Duration) {
        if !self.flows.is_empty() {
            let elapsed = at.saturating_sub(self.at).as_secs_f64();
            self.clock += elapsed * self.rate / self.flows.len() as f64;
        }
        self.at = at;
    }

    /// Removes a request if it has no running job and no job left to start. Returns whether the request was removed.
    fn end_if_finished(&mut self, key: TransferKey) -> bool {
        let is_finished = self.open.get(&key).is_some_and(|open| open.ending && open.running_jobs == 0);
        if is_finished && let Some(open) = self.open.remove(&key) {
            self.keys.remove(&(open.peer, open.request));
        }
        is_finished
    }
}

/// The number of bytes by which the virtual clock may be too low, because times are rounded to nanoseconds.
const TOLERANCE: f64 = 1.0;

fn len(index: &ArtifactIndex, outgoing: Outgoing) -> f64 {
    f64::from(index.chunk(outgoing.chunk).expect("a sent chunk is a chunk of the artifact").len)
}
