//! Decides whose chunks are read and sent next. No I/O, no clock: `now` is passed in.
//!
//! # Contract
//! [`push`](UploadQueue::push) requests as they come; call [`pop`](UploadQueue::pop) until it gives nothing, carry out each
//! [`Job`], and say [`complete`](UploadQueue::complete) for every one of them, however it ended. Then carry out what
//! [`poll_eviction`](UploadQueue::poll_eviction) gives, and begin again when
//! [`poll_timeout`](UploadQueue::poll_timeout) says so.
//!
//! Peers take turns by bytes: next is whoever will have got the least with its next turn, counted from when it came
//! (self-clocked fair queueing, Golestani 1994). Over time each peer that wants something gets the same, whatever the sizes
//! of its requests and however many it makes, and nobody gains by going and coming back. Credit is saved up for one turn
//! at most, and what others were let ahead. Whoever has waited for too long goes first.
//!
//! [`Config::slots`] jobs are under way at a time, so that what is begun is soon whole. A peer that is slow to take its job
//! in loses its slot and keeps the job; from then on it has one job at a time, beside the slots, until it has been quick
//! once. So slow peers hold up each other and nobody else. When they hold every place among [`Config::max_jobs`], the one
//! that has done so for the longest is given up.
//!
//! Among peers who have got about the same, whoever waits for what has been sent least often to anybody goes first, and of
//! what one peer has asked for, that: when many want the same artifact of one seed, each gets something that the others
//! lack, and can pass on.
//!
//! Invariants, see [`UploadQueue::check`]:
//! - at most [`Config::max_jobs`] jobs are under way, and [`Config::max_jobs_per_peer`] of one peer;
//! - jobs in slots are at most [`Config::slots`];
//! - every chunk of a transfer is in exactly one job, in the order within the transfer, unless that is cancelled;
//! - the job with `last` set is the last one of its transfer;
//! - a peer is in line exactly while it has something waiting and may have a further job.

mod config;
mod jobs;
mod meter;
mod sent;
#[cfg(test)]
mod tests;
mod transfer;
mod turn_queue;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use phase_core::{ArtifactIndex, ChunkRange, TokenBucket};

use crate::peer::PeerKey;
use crate::wire::{MAX_RETRY_AFTER_MS, Refusal};
pub use config::Config;
pub use jobs::{Eviction, Job, JobId, TransferKey};
use jobs::{Jobs, UnderWay};
use meter::{Meter, time_of};
use sent::Sent;
use transfer::Transfer;
use turn_queue::{Place, TurnQueue, Urgency};

/// Transfers of a peer among which the one to go first is sought.
const LOOKAHEAD: usize = 64;
/// Peers among which the one is sought that waits for what has been sent least often.
const RAREST_SEARCH: usize = 256;
/// How many bytes more than others a peer may get because what it waits for has been sent less often.
const RAREST_LEAD: u64 = 1 << 20;
/// What a refused peer is told to wait while it is not known how fast uploads are.
const FIRST_RETRY: Duration = Duration::from_millis(500);
/// A job is given up after this many times as long as it may occupy a slot.
const PATIENCE: u32 = 4;

/// A peer that has transfers waiting or jobs under way.
#[derive(Default)]
struct Peer {
    /// By number: in the order in which they were asked for.
    waiting: BTreeMap<u64, TransferKey>,
    waiting_bytes: u64,
    under_way: usize,
    /// Those of its jobs that occupy its slot.
    in_slot: usize,
    /// The last thing known of it is that it took too long for a job.
    is_slow: bool,
    /// The bytes that it has got, and those that others had got when it came.
    served: u64,
    /// Where it stands in the line of its kind, slow or not.
    place: Option<Place>,
}

/// Requests of all peers, and whose turn it is. See the [module](self).
pub struct UploadQueue {
    config: Config,
    transfers: BTreeMap<TransferKey, Transfer>,
    peers: BTreeMap<PeerKey, Peer>,
    /// Peers that need a slot, or have one.
    queue: TurnQueue,
    /// Peers that get along without.
    slow_queue: TurnQueue,
    /// What everybody in line will have got at least with its next turn: what newcomers count from.
    served: u64,
    jobs: Jobs,
    /// Jobs in slots.
    slots: usize,
    /// What waits, of each peer at most a turn.
    waiting_bytes: u64,
    cap: Option<TokenBucket>,
    meter: Meter,
    sent: Sent,
    /// For transfers and places in line.
    next_number: u64,
}

impl UploadQueue {
    /// An empty queue.
    pub fn new(config: Config) -> Self {
        let cap = config.max_rate.map(|rate| TokenBucket::new(rate, config.burst(rate)));
        Self {
            config,
            transfers: BTreeMap::new(),
            peers: BTreeMap::new(),
            queue: TurnQueue::default(),
            slow_queue: TurnQueue::default(),
            served: 0,
            jobs: Jobs::default(),
            slots: 0,
            waiting_bytes: 0,
            cap,
            meter: Meter::default(),
            sent: Sent::default(),
            next_number: 0,
        }
    }

    /// Takes in a request for chunks of the artifact of `index`.
    ///
    /// # Errors
    /// `Busy` beyond a bound, `Malformed` for ranges that the artifact does not have.
    pub fn push(
        &mut self,
        now: Instant,
        peer: PeerKey,
        transfer: TransferKey,
        index: Arc<ArtifactIndex>,
        ranges: Vec<ChunkRange>,
    ) -> Result<(), Refusal> {
        let number = self.number();
        let asked = Transfer::new(peer, number, index, ranges).ok_or(Refusal::Malformed)?;
        if self.is_full_for(peer) {
            return Err(self.busy());
        }
        self.sent.remember(&asked.index);
        let newcomer = Peer { served: self.served, ..Peer::default() };
        self.peers.entry(peer).or_insert(newcomer).waiting.insert(number, transfer);
        self.count_waiting(peer, |waiting| waiting + asked.bytes());
        self.transfers.insert(transfer, asked);
        self.settle(now, peer);
        Ok(())
    }

    /// What a peer is told that asks for too much at this time: to ask again when everybody in line has had a turn.
    pub fn busy(&self) -> Refusal {
        let Config { min_retry, max_retry, .. } = self.config;
        let wait = self.rate().map_or(FIRST_RETRY, |rate| time_of(self.waiting_bytes, rate));
        let wait = wait.clamp(min_retry, max_retry.max(min_retry)).as_millis();
        Refusal::Busy { retry_after_ms: u32::try_from(wait).unwrap_or(u32::MAX).min(MAX_RETRY_AFTER_MS - 1) }
    }

    /// Drops what is left of a transfer. Jobs of it that are under way stay so. Returns whether anything was left.
    pub fn cancel(&mut self, transfer: TransferKey) -> bool {
        let Some(left) = self.transfers.remove(&transfer) else { return false };
        if let Some(state) = self.peers.get_mut(&left.peer) {
            state.waiting.remove(&left.number);
        }
        self.count_waiting(left.peer, |waiting| waiting - left.bytes());
        self.update_place(left.peer);
        self.tidy(left.peer);
        true
    }

    /// Drops everything of a peer except its jobs under way.
    pub fn peer_lost(&mut self, peer: PeerKey) {
        let waiting = self.peers.get_mut(&peer).map(|state| std::mem::take(&mut state.waiting)).unwrap_or_default();
        for transfer in waiting.into_values() {
            self.transfers.remove(&transfer);
        }
        self.count_waiting(peer, |_| 0);
        self.tidy(peer);
    }

    /// The next job, if there is one and it is within the bounds.
    pub fn pop(&mut self, now: Instant) -> Option<Job> {
        self.free_slots(now);
        let peer = self.head(now)?;
        let (transfer, run, bytes) = self.first_of(peer)?;
        if let Some(cap) = &mut self.cap
            && !cap.take(now, bytes)
        {
            return None;
        }
        Some(self.take(now, peer, transfer, run, bytes))
    }

    /// A job has ended: its chunks were sent, or never will be.
    pub fn complete(&mut self, now: Instant, job: JobId) {
        let Some((job, in_slot)) = self.jobs.remove(job) else { return };
        self.meter.end(now, job.bytes, self.jobs.len() == 0);
        if in_slot {
            self.leave_slot(job.peer);
        }
        if let Some(state) = self.peers.get_mut(&job.peer) {
            state.under_way -= 1;
        }
        self.set_slow(job.peer, now >= job.slow_at);
        self.settle(now, job.peer);
    }

    /// A job to give up, because it has taken too long and others need its place. It still has to be completed.
    pub fn poll_eviction(&mut self, now: Instant) -> Option<Eviction> {
        self.free_slots(now);
        if self.lacks_place() { self.jobs.evict(now) } else { None }
    }

    /// When [`pop`](Self::pop) or [`poll_eviction`](Self::poll_eviction) may give something that they do not give now, if
    /// nothing else happens; `None`: never.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        if self.queue.is_empty() && self.slow_queue.is_empty() {
            return None;
        }
        let capped = self.cap.as_ref().and_then(|cap| {
            let (_, _, bytes) = self.first_of(self.head(now)?)?;
            Some(cap.ready_at(now, bytes))
        });
        let freed = self.jobs.late_at();
        let evicted = self.jobs.evict_at().filter(|_| self.lacks_place());
        // Who is starved goes first, and may have a slot when the one before has not, or ask for less.
        let starved = [&self.queue, &self.slow_queue].map(|line| {
            let at = line.waiting_since().map(|since| since + self.config.starved_after);
            at.filter(|at| *at > now)
        });
        [capped, freed, evicted].into_iter().chain(starved).flatten().min()
    }

    /// Asserts the invariants; for tests and simulations. Takes time in proportion to what waits.
    ///
    /// # Panics
    /// If one does not hold.
    pub fn check(&self) {
        let jobs = self.jobs.check();
        assert!(self.jobs.len() <= self.config.max_jobs && self.slots <= self.config.slots.max(1));
        assert_eq!(jobs.values().map(|(_, in_slot)| in_slot).sum::<usize>(), self.slots, "slots in use");
        assert!(jobs.keys().all(|peer| self.peers.contains_key(peer)), "peers with jobs are known");
        let mut in_line = [0, 0];
        for (key, peer) in &self.peers {
            let (under_way, in_slot) = jobs.get(key).copied().unwrap_or_default();
            assert_eq!((peer.under_way, peer.in_slot), (under_way, in_slot), "jobs of {key}");
            assert!(under_way <= self.config.max_jobs_per_peer && (under_way > 0 || !peer.waiting.is_empty()));
            let of_peer = |transfer: &TransferKey| self.transfers[transfer].peer == *key;
            assert!(peer.waiting.values().all(of_peer), "transfers of {key}");
            let bytes: u64 = peer.waiting.values().map(|transfer| self.transfers[transfer].bytes()).sum();
            assert_eq!(bytes, peer.waiting_bytes, "bytes that wait for {key}");
            assert_eq!(peer.place.is_some(), self.may_have_job(peer), "the place of {key}");
            if let Some(place) = peer.place {
                in_line[usize::from(peer.is_slow)] += 1;
                let line = if peer.is_slow { &self.slow_queue } else { &self.queue };
                assert!(line.has(*key, place), "{key} stands where it thinks");
                assert_eq!(place.turn, peer.served + self.turn_of(peer.waiting_bytes), "the turn of {key}");
            }
        }
        assert_eq!([self.queue.len(), self.slow_queue.len()], in_line, "who is in line");
        assert_eq!(self.peers.values().map(|peer| peer.waiting.len()).sum::<usize>(), self.transfers.len());
        let turns: u64 = self.peers.values().map(|peer| self.turn_of(peer.waiting_bytes)).sum();
        assert_eq!(turns, self.waiting_bytes, "bytes that wait");
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    fn is_full_for(&self, peer: PeerKey) -> bool {
        let Config { max_transfers, max_transfers_per_peer, .. } = self.config;
        let waiting = self.peers.get(&peer).map_or(0, |peer| peer.waiting.len());
        let most_bytes = if waiting == 0 { self.most_waiting() } else { self.most_waiting() / 2 };
        waiting >= max_transfers_per_peer || self.transfers.len() >= max_transfers || self.waiting_bytes >= most_bytes
    }

    /// Bytes that may wait in all.
    fn most_waiting(&self) -> u64 {
        let Config { min_waiting_bytes, max_waiting_bytes, max_wait, .. } = self.config;
        let in_time = self.rate().map_or(0, |rate| (rate as f64 * max_wait.as_secs_f64()) as u64);
        in_time.clamp(min_waiting_bytes.min(max_waiting_bytes), max_waiting_bytes)
    }

    /// Bytes per second, if they are known.
    fn rate(&self) -> Option<u64> {
        let cap = self.cap.as_ref().map(TokenBucket::rate);
        self.meter.rate().into_iter().chain(cap).min()
    }

    /// How much of what waits for a peer others have to wait for.
    fn turn_of(&self, waiting_bytes: u64) -> u64 {
        waiting_bytes.min(self.config.largest_job())
    }

    fn count_waiting(&mut self, peer: PeerKey, change: impl FnOnce(u64) -> u64) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let before = state.waiting_bytes;
        let after = change(before);
        state.waiting_bytes = after;
        self.waiting_bytes = self.waiting_bytes - self.turn_of(before) + self.turn_of(after);
    }

    /// Whose turn it is, if anybody may be served now.
    fn head(&self, now: Instant) -> Option<PeerKey> {
        let after = self.config.starved_after;
        let has_place = self.jobs.len() < self.config.max_jobs;
        let has_slot = self.slots < self.config.slots.max(1);
        let head = self.queue.head(now, after).filter(|_| has_place && has_slot);
        let head = head.map(|(urgency, peer)| match urgency {
            Urgency::Usual(_) => (urgency, self.with_rarest().unwrap_or(peer)),
            Urgency::Starved(_) => (urgency, peer),
        });
        let slow = self.slow_queue.head(now, after).filter(|_| self.has_place_for_slow());
        let (_, peer) = head.into_iter().chain(slow).min()?;
        Some(peer)
    }

    /// The peer that waits for what has been sent least often, among those in line who will have got little more than the
    /// first.
    fn with_rarest(&self) -> Option<PeerKey> {
        let first = self.queue.first(RAREST_LEAD).take(RAREST_SEARCH);
        // The first one of the least.
        first.min_by_key(|peer| {
            let waiting = self.peers[peer].waiting.values().take(LOOKAHEAD).map(|key| &self.transfers[key]);
            waiting.map(|asked| self.sent.times(&asked.index, asked.first())).min()
        })
    }

    /// Slow peers leave places to the others.
    fn has_place_for_slow(&self) -> bool {
        self.jobs.len() + self.config.reserved() < self.config.max_jobs
    }

    /// Whether somebody waits only because others hold all places.
    fn lacks_place(&self) -> bool {
        if self.queue.is_empty() {
            !self.slow_queue.is_empty() && !self.has_place_for_slow()
        } else {
            self.jobs.len() >= self.config.max_jobs
        }
    }

    /// The transfer of a peer to go first, what to send of it, and how many bytes that has.
    fn first_of(&self, peer: PeerKey) -> Option<(TransferKey, ChunkRange, u64)> {
        let waiting = self.peers.get(&peer)?.waiting.values().take(LOOKAHEAD);
        let asked = waiting.map(|key| (*key, &self.transfers[key]));
        // The first one of the least.
        let (key, transfer) = asked.min_by_key(|(_, asked)| self.sent.times(&asked.index, asked.first()))?;
        let (run, bytes) = transfer.next_run(self.config.job_bytes());
        Some((key, run, bytes))
    }

    fn take(&mut self, now: Instant, peer: PeerKey, transfer: TransferKey, run: ChunkRange, bytes: u64) -> Job {
        let last = self.advance(transfer, run);
        self.count_waiting(peer, |waiting| waiting - bytes);
        let state = &self.peers[&peer];
        let line = if state.is_slow { &self.slow_queue } else { &self.queue };
        // Who is starved may go before others whose turn it would be.
        self.served = self.served.max(line.least().unwrap_or(0));
        self.leave_line(peer);
        let slot_time = self.slot_time(bytes);
        let (slow_at, evict_at) = (now + slot_time, now + self.config.evict_after.max(slot_time * PATIENCE));
        let state = self.peers.get_mut(&peer).expect("who is served is known");
        state.served += bytes;
        state.under_way += 1;
        let in_slot = !state.is_slow;
        if in_slot {
            self.slots += 1;
            state.in_slot += 1;
        }
        self.meter.start(now);
        let id = self.jobs.add(UnderWay { peer, transfer, bytes, slow_at, evict_at }, in_slot);
        self.settle(now, peer);
        Job { id, transfer, peer, run, bytes, last }
    }

    /// Takes `run` off a transfer. Returns whether nothing is left, when it is forgotten.
    fn advance(&mut self, key: TransferKey, run: ChunkRange) -> bool {
        let transfer = self.transfers.get_mut(&key).expect("what is sent has waited");
        self.sent.count(&transfer.index, run);
        let is_over = transfer.advance(run);
        if is_over
            && let Some(transfer) = self.transfers.remove(&key)
            && let Some(state) = self.peers.get_mut(&transfer.peer)
        {
            state.waiting.remove(&transfer.number);
        }
        is_over
    }

    /// How long a job may occupy a slot: longer where everything under way takes longer together.
    fn slot_time(&self, bytes: u64) -> Duration {
        let Config { slot_time, max_slot_time, max_jobs, .. } = self.config;
        let all = bytes.saturating_mul(u64::try_from(max_jobs).unwrap_or(u64::MAX));
        let usual = self.meter.rate().map_or(Duration::ZERO, |rate| time_of(all, rate));
        usual.clamp(slot_time, max_slot_time.max(slot_time))
    }

    /// Jobs that take too long lose their slots.
    fn free_slots(&mut self, now: Instant) {
        while let Some(peer) = self.jobs.next_late(now) {
            self.leave_slot(peer);
            self.set_slow(peer, true);
            self.settle(now, peer);
        }
    }

    /// A job of a peer does not occupy its slot any more.
    fn leave_slot(&mut self, peer: PeerKey) {
        let state = self.peers.get_mut(&peer).expect("who has a slot is known");
        state.in_slot -= 1;
        self.slots -= 1;
    }

    /// Notes how quick a peer is. If it is in line it changes to the other one, at the same place.
    fn set_slow(&mut self, peer: PeerKey, is_slow: bool) {
        let Some(state) = self.peers.get_mut(&peer).filter(|state| state.is_slow != is_slow) else { return };
        state.is_slow = is_slow;
        if let Some(place) = state.place {
            let (from, to) = match is_slow {
                true => (&mut self.queue, &mut self.slow_queue),
                false => (&mut self.slow_queue, &mut self.queue),
            };
            from.leave(place);
            to.enter(peer, place);
        }
    }

    fn may_have_job(&self, peer: &Peer) -> bool {
        let most = if peer.is_slow { self.config.max_jobs_per_peer.min(1) } else { self.config.max_jobs_per_peer };
        !peer.waiting.is_empty() && peer.under_way < most
    }

    /// Puts a peer in line if it may have a further job, or else takes it out.
    fn settle(&mut self, now: Instant, peer: PeerKey) {
        let Some(state) = self.peers.get(&peer) else { return };
        match (self.may_have_job(state), state.place.is_some()) {
            (true, false) => self.enter_line(now, peer),
            (true, true) => self.update_place(peer),
            (false, true) => self.leave_line(peer),
            (false, false) => {}
        }
        self.tidy(peer);
    }

    fn enter_line(&mut self, now: Instant, peer: PeerKey) {
        // Others may have gone before it for what is rarer: that is no turn which it has let pass.
        let (number, most_credit) = (self.number(), self.config.largest_job() + RAREST_LEAD);
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.served = state.served.max(self.served.saturating_sub(most_credit));
        self.stand(peer, number, now);
    }

    /// How much it will have got with its next turn depends on what it asks for.
    fn update_place(&mut self, peer: PeerKey) {
        let place = self.peers.get(&peer).and_then(|state| state.place);
        if let Some(Place { number, since, .. }) = place {
            self.leave_line(peer);
            self.stand(peer, number, since);
        }
    }

    fn stand(&mut self, peer: PeerKey, number: u64, since: Instant) {
        let waiting_bytes = self.peers.get(&peer).map_or(0, |state| state.waiting_bytes);
        let turn = self.turn_of(waiting_bytes);
        let Some(state) = self.peers.get_mut(&peer) else { return };
        let place = Place { turn: state.served + turn, number, since };
        state.place = Some(place);
        if state.is_slow { &mut self.slow_queue } else { &mut self.queue }.enter(peer, place);
    }

    fn leave_line(&mut self, peer: PeerKey) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        if let Some(place) = state.place.take() {
            if state.is_slow { &mut self.slow_queue } else { &mut self.queue }.leave(place);
        }
    }

    /// Takes a peer out of the line when it has nothing waiting, and forgets it when nothing is under way either.
    fn tidy(&mut self, peer: PeerKey) {
        let Some(state) = self.peers.get(&peer) else { return };
        if state.waiting.is_empty() {
            let is_over = state.under_way == 0;
            self.leave_line(peer);
            if is_over {
                self.peers.remove(&peer);
            }
        }
    }
}
