//! The state of one peer: its rate, its window, its timeouts and its pauses.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::scheduler::{Config, RequestId};

/// The minimum time over which the rate of a peer is measured. Over a shorter time, the result would depend on single
/// chunks.
const RATE_INTERVAL: Duration = Duration::from_millis(100);
/// The weight of a new measurement in the moving average of the rate.
const RATE_WEIGHT: f64 = 0.4;
/// The window of a peer is limited to this many times the bytes that the peer delivers within its horizon (see
/// [`Config::horizon`]). The factor is greater than 1 so that the window can grow while the rate still rises.
const GROWTH: f64 = 2.0;
/// The number of requests that fill the window of a peer. With the default limits, the maximum window (16 MiB) is
/// filled by 16 requests of the maximum length (1 MiB).
const PORTIONS: u64 = 16;
/// The pause of a peer with one penalty point. The pause doubles with each further point.
const PENALTY_MIN: Duration = Duration::from_secs(1);
/// The maximum pause for penalty points.
const PENALTY_MAX: Duration = Duration::from_secs(30);
/// The number of bytes that a peer must send to count as active. A peer that sends fewer bytes until its timeout
/// stalls.
const MIN_PROGRESS: u64 = 16 << 10;
/// The expected delivery time of a request to a peer whose rate is not known yet.
const FIRST_GUESS: Duration = Duration::from_millis(500);

/// The minimum time that a peer gets to end a recalled request, which is a request that was cancelled for a faster
/// peer.
const MIN_RECALL_TIMEOUT: Duration = Duration::from_millis(100);
/// The maximum time that a peer gets to end a recalled request. A peer that needs longer is busy with other peers, or
/// is gone.
const MAX_RECALL_TIMEOUT: Duration = Duration::from_secs(2);
/// The maximum expected delivery time, in seconds. It limits the result of a division by a very low rate.
const MAX_EXPECTED: f64 = 3600.0;

/// What the scheduler knows of a connected peer.
pub(super) struct Peer {
    /// The open requests to this peer.
    pub(super) requests: BTreeSet<RequestId>,
    /// The bytes that are requested from the peer and not yet delivered.
    pub(super) inflight: u64,
    /// The limit on the bytes inflight from the peer.
    window: u64,
    rate: Rate,
    response: Response,
    /// The time from which a stall is measured. It is updated when the peer sends bytes or delivers a chunk, and when a
    /// request is sent to the peer while nothing is inflight.
    active: Instant,
    /// The time from which the peer's silence is measured. It is updated like `active`, but not by a request to a
    /// suspect.
    silent_since: Instant,
    /// The number of bytes of the peer's replies at the time when [`Peer::handle_received`] last counted the peer as
    /// active.
    received: u64,
    /// The end of the peer's pause. No request is sent to the peer before this time.
    paused_until: Option<Instant>,
    /// Whether the peer is a suspect. A suspect is a peer that has stalled, or one of whose requests was recalled, and
    /// that has delivered no chunk since. Suspects are asked last, and they do not steal.
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
            paused_until: None,
            is_suspect: false,
        }
    }

    /// Returns the maximum length of the next request, in bytes; 0 if no request may be sent now. The length is a fixed
    /// portion of the window, so a peer with a large window gets long requests. A peer with a small window gets
    /// requests for one chunk, because the rarest chunks help the other clients more than adjacent chunks do.
    pub(super) fn request_budget(&self, now: Instant, config: &Config) -> u64 {
        if self.pause_end(now).is_some() {
            return 0;
        }
        let portion = (self.window / PORTIONS).clamp(1, config.max_request);
        let free = self.window.saturating_sub(self.inflight);
        if self.inflight == 0 || free >= portion { portion } else { 0 }
    }

    /// Counts a request for `bytes` that is sent to the peer.
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

    /// Counts a chunk of `bytes` that the peer has delivered. `first_after` is `None` unless this is the first
    /// delivered chunk of its request. It holds the time since the request was sent, and the bytes that were inflight
    /// from the peer before.
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
            let earlier = self.rate.per_second.map_or(0.0, |rate| ahead as f64 / rate.max(1.0));
            self.response.add(sample, Duration::from_secs_f64(earlier.min(MAX_EXPECTED)));
        }
        self.window = self.window.saturating_add(bytes).min(config.max_window);
        if let Some(rate) = self.rate.add(now, bytes) {
            let horizon = (2 * self.response.least.unwrap_or_default()).clamp(config.horizon, config.max_horizon);
            let target = (rate * horizon.as_secs_f64() * GROWTH) as u64;
            self.window = self.window.min(target).clamp(config.min_window, config.max_window);
        }
    }

    /// Counts bytes that have arrived from the peer. `total` is the number of bytes of its replies since it connected,
    /// verified or not. A peer that sends bytes is active even if it completes no chunk, because a chunk of 512 KiB
    /// over a slow network link can take longer than any timeout.
    pub(super) fn handle_received(&mut self, now: Instant, total: u64) {
        if total.saturating_sub(self.received) >= MIN_PROGRESS {
            self.received = total;
            self.active = now;
            self.silent_since = now;
        }
    }

    /// Shrinks the window to the minimum and marks the peer as a suspect, because it has stalled.
    pub(super) fn handle_stall(&mut self, config: &Config) {
        self.window = config.min_window;
        self.is_suspect = true;
    }

    /// Marks the peer as a suspect, because one of its requests is recalled for a faster peer.
    pub(super) fn handle_steal(&mut self) {
        self.is_suspect = true;
    }

    /// Pauses the peer because it has `points` penalty points now. Returns the end of this pause.
    pub(super) fn penalise(&mut self, now: Instant, points: f64) -> Instant {
        let penalty = PENALTY_MIN.mul_f64((points - 1.0).clamp(0.0, 8.0).exp2()).min(PENALTY_MAX);
        self.pause(now + penalty);
        now + penalty
    }

    /// Pauses the peer until the time `until`. A pause that already lasts longer is not changed.
    pub(super) fn pause(&mut self, until: Instant) {
        self.paused_until = Some(self.paused_until.map_or(until, |already| already.max(until)));
    }

    /// Returns whether the peer may take over chunks of slower peers. A suspect may not.
    pub(super) fn may_steal(&self) -> bool {
        !self.is_suspect
    }

    /// Returns the time at which the peer stalls if it sends no bytes until then; `None` if nothing is inflight.
    pub(super) fn stalls_at(&self, config: &Config) -> Option<Instant> {
        let timeout = self.response.timeout().unwrap_or(config.first_timeout);
        let timeout = timeout.clamp(config.min_timeout, config.max_timeout);
        (self.inflight > 0).then_some(self.active + timeout)
    }

    /// Returns whether a pause has ended. Returns `true` once for each pause.
    pub(super) fn take_ended_pause(&mut self, now: Instant) -> bool {
        self.paused_until.take_if(|until| *until <= now).is_some()
    }

    /// Returns when the current pause ends; `None` if the peer is not paused.
    pub(super) fn pause_end(&self, now: Instant) -> Option<Instant> {
        self.paused_until.filter(|until| *until > now)
    }

    /// Returns the expected time until the peer has delivered the next `bytes`. If the peer has sent nothing for some
    /// time, it is expected to send nothing for the same time again.
    pub(super) fn expected_time(&self, now: Instant, bytes: u64) -> Duration {
        let silence = if self.inflight > 0 { now.saturating_duration_since(self.silent_since) } else { Duration::ZERO };
        let delivery = match self.rate.per_second {
            Some(rate) if rate > 0.0 => {
                self.response.delay + Duration::from_secs_f64((bytes as f64 / rate).min(MAX_EXPECTED))
            }
            _ => FIRST_GUESS,
        };
        delivery.max(silence)
    }

    /// Returns how long the peer may take to end a recalled request.
    pub(super) fn recall_timeout(&self) -> Duration {
        (4 * self.response.delay).clamp(MIN_RECALL_TIMEOUT, MAX_RECALL_TIMEOUT)
    }

    /// Returns the rate in bytes per second; `None` before the first measurement.
    pub(super) fn rate(&self) -> Option<f64> {
        self.rate.per_second
    }
}

/// The rate of a peer, averaged over intervals in which bytes were inflight.
struct Rate {
    /// The start of the current measuring interval.
    since: Instant,
    /// The bytes that the peer has delivered in the current measuring interval.
    bytes: u64,
    /// The moving average of the rate, in bytes per second; `None` before the first measurement.
    per_second: Option<f64>,
}

impl Rate {
    /// Begins a new measuring interval.
    fn restart(&mut self, now: Instant) {
        self.since = now;
        self.bytes = 0;
    }

    /// Counts delivered bytes. If the measuring interval has ended, begins a new interval and returns the new average
    /// rate.
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

/// The response times of a peer. A response time is the time from a request to its first delivered chunk. Mean and
/// deviation are computed like those of the round-trip time in TCP (RFC 6298).
struct Response {
    /// The shortest response time, which is about the response time while the peer is idle. The horizon is computed
    /// from it. The mean response time is not suitable, because a larger window lengthens the mean, and a longer
    /// horizon would enlarge the window again.
    least: Option<Duration>,
    mean: Option<Duration>,
    deviation: Duration,
    /// The mean response time, minus the time for bytes that were requested earlier. The rest is the round-trip time
    /// and the time in which the peer served other peers.
    delay: Duration,
}

impl Response {
    /// Adds a measured response time. `earlier` is the part of `sample` in which the peer sent bytes that were
    /// requested earlier.
    fn add(&mut self, sample: Duration, earlier: Duration) {
        let delay = sample.saturating_sub(earlier);
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

    /// Returns the timeout, which is the mean response time plus four deviations; `None` before the first measurement.
    fn timeout(&self) -> Option<Duration> {
        self.mean.map(|mean| mean + 4 * self.deviation)
    }
}
