//! One peer: how fast it is, how much is asked of it at a time, and when it counts as stalled.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::scheduler::{Config, RequestId};

/// The shortest time over which a rate is measured: shorter ones measure the arrival of single chunks.
const RATE_INTERVAL: Duration = Duration::from_millis(100);
/// The weight of a new measurement against all before.
const RATE_WEIGHT: f64 = 0.4;
/// How far beyond its target a window may grow while the rate still rises.
const GROWTH: f64 = 2.0;
/// Requests that a window is divided into: the largest, of 16 MiB, into the longest requests, of 1 MiB.
const PORTIONS: u64 = 16;
/// The first wait of a peer that stalled, or lacks what it said it had; doubles with each point against it.
const PENALTY_MIN: Duration = Duration::from_secs(1);
/// The longest such wait.
const PENALTY_MAX: Duration = Duration::from_secs(30);
/// Bytes that a peer has to deliver for its silence to end: whoever sends a byte now and then is silent.
const MIN_PROGRESS: u64 = 16 << 10;
/// How long a peer of which nothing is known yet is thought to take for a chunk.
const FIRST_GUESS: Duration = Duration::from_millis(500);

/// The least time in which a peer has to say that a request has ended which was taken back.
const MIN_RECALL_PATIENCE: Duration = Duration::from_millis(100);
/// The most: it may be busy with others, or gone.
const MAX_RECALL_PATIENCE: Duration = Duration::from_secs(2);
/// What is expected to take longer than this, in seconds, is expected to take so long.
const MAX_EXPECTED: f64 = 3600.0;

/// A connected peer.
pub(super) struct Peer {
    pub(super) requests: BTreeSet<RequestId>,
    /// Bytes asked for and not yet verified.
    pub(super) inflight: u64,
    /// The most bytes to have in flight.
    window: u64,
    rate: Rate,
    response: Response,
    /// When it last delivered something, or was first asked after it had nothing to do.
    active: Instant,
    /// The same, but for a suspect: since when it has delivered nothing, however often it was asked.
    silent_since: Instant,
    /// Bytes of its replies, verified or not, when it was last seen to deliver.
    received: u64,
    /// Nothing is asked of it before this.
    resting_until: Option<Instant>,
    /// Something was taken from it because it was slow, and it has delivered nothing since.
    is_suspect: bool,
}

impl Peer {
    pub(super) fn new(now: Instant, config: &Config) -> Self {
        Self {
            requests: BTreeSet::new(),
            inflight: 0,
            window: config.first_window,
            rate: Rate { since: now, bytes: 0, per_second: None },
            response: Response { least: None, mean: None, deviation: Duration::ZERO, delay: Duration::ZERO },
            active: now,
            silent_since: now,
            received: 0,
            resting_until: None,
            is_suspect: false,
        }
    }

    /// How many bytes may be asked for now; 0: none. Asks in portions of the window: long requests where it is large, single
    /// chunks where it is small and a swarm is better off with what is rare than with what is adjacent.
    pub(super) fn room(&self, now: Instant, config: &Config) -> u64 {
        if self.rests_until(now).is_some() {
            return 0;
        }
        let portion = (self.window / PORTIONS).clamp(1, config.max_request);
        let room = self.window.saturating_sub(self.inflight);
        if self.inflight == 0 || room >= portion { portion } else { 0 }
    }

    pub(super) fn handle_sent(&mut self, now: Instant, request: RequestId, bytes: u64) {
        if self.inflight == 0 {
            self.active = now;
            if !self.is_suspect {
                self.silent_since = now;
            }
            self.rate.restart(now);
        }
        self.requests.insert(request);
        self.inflight += bytes;
    }

    /// A chunk has arrived; `first_after`, if it is its request's first: the time from the request, and the bytes that had to
    /// come before.
    pub(super) fn handle_bytes(
        &mut self,
        now: Instant,
        bytes: u64,
        first_after: Option<(Duration, u64)>,
        config: &Config,
    ) {
        self.inflight -= bytes;
        self.active = now;
        self.silent_since = now;
        self.is_suspect = false;
        if let Some((sample, ahead)) = first_after {
            let own = self.rate.per_second.map_or(0.0, |rate| ahead as f64 / rate.max(1.0));
            self.response.add(sample, Duration::from_secs_f64(own.min(MAX_EXPECTED)));
        }
        self.window = self.window.saturating_add(bytes).min(config.max_window);
        if let Some(rate) = self.rate.add(now, bytes) {
            let horizon = (2 * self.response.least.unwrap_or_default()).clamp(config.horizon, config.max_horizon);
            let target = (rate * horizon.as_secs_f64() * GROWTH) as u64;
            self.window = self.window.min(target).clamp(config.min_window, config.max_window);
        }
    }

    /// `total` bytes of its replies have come since it was connected, verified or not. Chunks of half a MiB over a slow line
    /// take longer than any timeout: what counts is that bytes come.
    pub(super) fn handle_received(&mut self, now: Instant, total: u64) {
        if total.saturating_sub(self.received) >= MIN_PROGRESS {
            self.received = total;
            self.active = now;
            self.silent_since = now;
        }
    }

    /// It was asked and has delivered nothing for its timeout.
    pub(super) fn handle_stall(&mut self, config: &Config) {
        self.window = config.min_window;
        self.is_suspect = true;
    }

    /// What it was asked for goes to a faster one.
    pub(super) fn handle_steal(&mut self) {
        self.is_suspect = true;
    }

    /// It has disappointed, and there are `points` against it. Returns until when it rests at least.
    pub(super) fn punish(&mut self, now: Instant, points: f64) -> Instant {
        let penalty = PENALTY_MIN.mul_f64((points - 1.0).clamp(0.0, 8.0).exp2()).min(PENALTY_MAX);
        self.rest(now + penalty);
        now + penalty
    }

    pub(super) fn rest(&mut self, until: Instant) {
        self.resting_until = Some(self.resting_until.map_or(until, |already| already.max(until)));
    }

    /// Whether it may be given what others are too slow for.
    pub(super) fn may_steal(&self) -> bool {
        !self.is_suspect
    }

    /// When it counts as stalled, if it delivers nothing until then.
    pub(super) fn stalls_at(&self, config: &Config) -> Option<Instant> {
        let timeout = self.response.timeout().unwrap_or(config.first_timeout);
        let timeout = timeout.clamp(config.min_timeout, config.max_timeout);
        (self.inflight > 0).then_some(self.active + timeout)
    }

    /// Whether it has had to rest and need not any more. Says so once.
    pub(super) fn take_rested(&mut self, now: Instant) -> bool {
        self.resting_until.take_if(|until| *until <= now).is_some()
    }

    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.resting_until.filter(|until| *until > now)
    }

    /// How long it will take for the next `bytes`. A peer that has been silent for some time is expected to be so for as long
    /// again.
    pub(super) fn expect(&self, now: Instant, bytes: u64) -> Duration {
        let silence = if self.inflight > 0 { now.saturating_duration_since(self.silent_since) } else { Duration::ZERO };
        let delivery = match self.rate.per_second {
            Some(rate) if rate > 0.0 => {
                self.response.delay + Duration::from_secs_f64((bytes as f64 / rate).min(MAX_EXPECTED))
            }
            _ => FIRST_GUESS,
        };
        delivery.max(silence)
    }

    /// How long it may take to say that a request has ended which was taken back from it.
    pub(super) fn recall_patience(&self) -> Duration {
        (4 * self.response.delay).clamp(MIN_RECALL_PATIENCE, MAX_RECALL_PATIENCE)
    }

    /// Bytes per second as last measured.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate.per_second
    }
}

/// Bytes per second, averaged over intervals in which something was in flight.
struct Rate {
    since: Instant,
    bytes: u64,
    per_second: Option<f64>,
}

impl Rate {
    fn restart(&mut self, now: Instant) {
        self.since = now;
        self.bytes = 0;
    }

    /// Returns the new average at the end of an interval.
    fn add(&mut self, now: Instant, bytes: u64) -> Option<f64> {
        self.bytes += bytes;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < RATE_INTERVAL {
            return None;
        }
        let measured = self.bytes as f64 / elapsed.as_secs_f64();
        let average = self.per_second.map_or(measured, |rate| rate + RATE_WEIGHT * (measured - rate));
        self.per_second = Some(average);
        self.restart(now);
        Some(average)
    }
}

/// The time from a request to its first chunk: mean and deviation as TCP keeps them (RFC 6298).
struct Response {
    /// The shortest: what it takes when nothing else is under way. A window made from the mean would grow by the waiting
    /// that it causes itself.
    least: Option<Duration>,
    mean: Option<Duration>,
    deviation: Duration,
    /// The mean of what of it was not for bytes that we had asked for before: the way there and back, and the peer's work for
    /// others.
    delay: Duration,
}

impl Response {
    /// `own`: how much of it was for what we had asked for before.
    fn add(&mut self, sample: Duration, own: Duration) {
        let delay = sample.saturating_sub(own);
        self.delay = if self.mean.is_none() { delay } else { (self.delay * 7 + delay) / 8 };
        self.least = Some(self.least.map_or(sample, |least| least.min(sample)));
        match self.mean {
            None => {
                self.mean = Some(sample);
                self.deviation = sample / 2;
            }
            Some(mean) => {
                self.deviation = (self.deviation * 3 + mean.abs_diff(sample)) / 4;
                self.mean = Some((mean * 7 + sample) / 8);
            }
        }
    }

    /// Mean and four deviations, once something is known.
    fn timeout(&self) -> Option<Duration> {
        self.mean.map(|mean| mean + 4 * self.deviation)
    }
}
