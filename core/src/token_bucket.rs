//! A rate limit: a token bucket without rounding errors.

use std::time::{Duration, Instant};

/// Rates are multiplied by this factor, so that a fractional rate can be stored as an integer.
const MILLIONTHS: u128 = 1_000_000;
/// The number of tokens in a bucket is stored multiplied by this factor, so that the increase in one nanosecond is an
/// integer at every rate.
const SCALE: u128 = 1_000_000_000 * MILLIONTHS;

/// A token bucket: a limit that permits at most `burst + rate * t` tokens in any time `t`.
///
/// A token is one unit of the limited quantity, for instance a byte or a request. The bucket reads no clock, so the
/// caller passes in the time.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// The rate, in millionths of a token per second.
    rate: u128,
    /// The maximum number of tokens in the bucket, multiplied by [`SCALE`].
    burst: u128,
    /// The number of tokens in the bucket at the time `at`, multiplied by [`SCALE`].
    credit: u128,
    /// The time for which `credit` was computed last, or `None` before the first use.
    at: Option<Instant>,
}

impl TokenBucket {
    /// Returns a full bucket. A rate of 0 is raised to one token per second.
    pub fn new(per_second: u64, burst: u64) -> Self {
        Self::with_rate(u128::from(per_second.max(1)) * MILLIONTHS, burst)
    }

    /// Returns a full bucket whose rate may be fractional. The minimum rate is one token in a million seconds, and a
    /// lower rate is raised to it.
    pub fn fractional(per_second: f64, burst: u64) -> Self {
        // The conversion from a float saturates, so a negative rate becomes 0.
        Self::with_rate(((per_second * MILLIONTHS as f64) as u128).max(1), burst)
    }

    fn with_rate(rate: u128, burst: u64) -> Self {
        let burst = u128::from(burst) * SCALE;
        Self { rate, burst, credit: burst, at: None }
    }

    /// Returns whether the bucket holds at least `tokens` tokens at the time `now`.
    pub fn has(&mut self, now: Instant, tokens: u64) -> bool {
        let passed = now.saturating_duration_since(self.at.unwrap_or(now));
        let earned = passed.as_nanos().saturating_mul(self.rate);
        self.credit = self.burst.min(self.credit.saturating_add(earned));
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        self.credit >= u128::from(tokens) * SCALE
    }

    /// Removes `tokens` tokens if the bucket holds that many at the time `now`. Returns whether they were removed.
    pub fn take(&mut self, now: Instant, tokens: u64) -> bool {
        let enough = self.has(now, tokens);
        if enough {
            self.credit -= u128::from(tokens) * SCALE;
        }
        enough
    }

    /// Returns the time from which the bucket holds `tokens` tokens if no token is removed. It may be in the past.
    ///
    /// `tokens` must not exceed the burst, because the bucket never holds more tokens than the burst.
    pub fn ready_at(&self, now: Instant, tokens: u64) -> Instant {
        let lacking = (u128::from(tokens) * SCALE).saturating_sub(self.credit);
        let nanos = u64::try_from(lacking.div_ceil(self.rate)).unwrap_or(u64::MAX);
        self.at.unwrap_or(now) + Duration::from_nanos(nanos)
    }

    /// Returns the rate in tokens per second, rounded down.
    pub fn rate(&self) -> u64 {
        u64::try_from(self.rate / MILLIONTHS).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "tests need a first instant, and only the clock gives one")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_rate_is_exact_and_a_pause_earns_at_most_one_burst() {
        // At this rate, the time per token is not a whole number of nanoseconds, so rounding errors would be found.
        let (mut bucket, begin) = (TokenBucket::new(7_777_777, 1_000_000), start());
        assert!(bucket.take(begin, 1_000_000));
        let mut sent = 0;
        let mut now = begin;
        while now < begin + Duration::from_secs(1000) {
            now = bucket.ready_at(now, 4321);
            assert!(!bucket.take(now - Duration::from_nanos(1), 4321));
            assert!(bucket.take(now, 4321));
            sent += 4321;
        }
        let earned = (now - begin).as_nanos() * 7_777_777 / 1_000_000_000;
        assert!(earned - sent < 4321, "{sent} of {earned}");
        now += Duration::from_secs(3600);
        assert!(bucket.take(now, 1_000_000));
        assert!(!bucket.take(now, 1));
    }

    #[test]
    fn a_rate_may_be_fractional_and_a_query_removes_no_tokens() {
        let (mut bucket, begin) = (TokenBucket::fractional(0.25, 2), start());
        assert!(bucket.take(begin, 2) && !bucket.has(begin, 1));
        let ready = bucket.ready_at(begin, 1);
        assert_eq!(ready - begin, Duration::from_secs(4));
        assert!(bucket.has(ready, 1) && bucket.has(ready, 1) && bucket.take(ready, 1) && !bucket.take(ready, 1));
        assert_eq!((bucket.rate(), TokenBucket::new(0, 1).rate()), (0, 1));
        assert!(TokenBucket::fractional(-1.0, 1).take(begin, 1));
        assert!(TokenBucket::new(u64::MAX, u64::MAX).take(begin + Duration::from_secs(1 << 32), u64::MAX));
    }
}
