//! One peer: how fast it is, how much is asked of it at a time, and when it counts as stalled.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::{Config, RequestId};

/// The shortest time over which a rate is measured: shorter ones measure the arrival of single chunks.
const RATE_INTERVAL: Duration = Duration::from_millis(100);
/// The weight of a new measurement against all before.
const RATE_WEIGHT: f64 = 0.4;
/// How far beyond its target a window may grow while the rate still rises.
const GROWTH: f64 = 2.0;
/// Requests that a window is divided into: the largest, of 16 MiB, into the longest requests, of 1 MiB.
const PORTIONS: u64 = 16;
/// The first wait of a peer that stalled; doubles with each stall up to the longest.
const PENALTY_MIN: Duration = Duration::from_secs(1);
/// The longest wait of a peer that stalled.
const PENALTY_MAX: Duration = Duration::from_secs(30);

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
    /// Nothing is asked of it before this.
    resting_until: Option<Instant>,
    stalls: u32,
}

impl Peer {
    pub(super) fn new(now: Instant, config: &Config) -> Self {
        Self {
            requests: BTreeSet::new(),
            inflight: 0,
            window: config.first_window,
            rate: Rate { since: now, bytes: 0, per_second: None },
            response: Response { least: None, mean: None, deviation: Duration::ZERO },
            active: now,
            resting_until: None,
            stalls: 0,
        }
    }

    /// How many bytes may be asked for now; 0: none. Asks in portions of the window: long requests where it is large, single
    /// chunks where it is small and a swarm is better off with what is rare than with what is adjacent.
    pub(super) fn room(&self, now: Instant, config: &Config) -> u64 {
        if self.resting_until.is_some_and(|until| now < until) {
            return 0;
        }
        let portion = (self.window / PORTIONS).clamp(1, config.max_request);
        let room = self.window.saturating_sub(self.inflight);
        if self.inflight == 0 || room >= portion { portion } else { 0 }
    }

    pub(super) fn handle_sent(&mut self, now: Instant, request: RequestId, bytes: u64) {
        if self.inflight == 0 {
            self.active = now;
            self.rate.restart(now);
        }
        self.requests.insert(request);
        self.inflight += bytes;
    }

    /// A chunk has arrived; `first_after` is the time from its request, if it is the request's first.
    pub(super) fn handle_bytes(&mut self, now: Instant, bytes: u64, first_after: Option<Duration>, config: &Config) {
        self.active = now;
        self.stalls = 0;
        if let Some(sample) = first_after {
            self.response.add(sample);
        }
        self.window = self.window.saturating_add(bytes).min(config.max_window);
        if let Some(rate) = self.rate.add(now, bytes) {
            let horizon = (2 * self.response.least.unwrap_or_default()).clamp(config.horizon, config.max_horizon);
            let target = (rate * horizon.as_secs_f64() * GROWTH) as u64;
            self.window = self.window.min(target).clamp(config.min_window, config.max_window);
        }
    }

    /// It was asked and has delivered nothing for its timeout.
    pub(super) fn handle_stall(&mut self, now: Instant, config: &Config) {
        let penalty = PENALTY_MIN.saturating_mul(1 << self.stalls.min(8)).min(PENALTY_MAX);
        self.stalls += 1;
        self.window = config.min_window;
        self.rest(now + penalty);
    }

    pub(super) fn rest(&mut self, until: Instant) {
        self.resting_until = Some(self.resting_until.map_or(until, |already| already.max(until)));
    }

    /// When it counts as stalled, if it delivers nothing until then.
    pub(super) fn stalls_at(&self, config: &Config) -> Option<Instant> {
        let timeout = self.response.timeout().unwrap_or(config.first_timeout);
        let timeout = timeout.clamp(config.min_timeout, config.max_timeout);
        (self.inflight > 0).then_some(self.active + timeout)
    }

    pub(super) fn rests_until(&self, now: Instant) -> Option<Instant> {
        self.resting_until.filter(|until| *until > now)
    }

    /// How long what is in flight will take, in milliseconds; more the less is known.
    pub(super) fn backlog_ms(&self) -> u64 {
        match self.rate.per_second {
            Some(rate) if rate > 0.0 => (self.inflight as f64 / rate * 1000.0) as u64,
            _ => u64::MAX,
        }
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
}

impl Response {
    fn add(&mut self, sample: Duration) {
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
