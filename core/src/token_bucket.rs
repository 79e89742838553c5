//! A cap on a rate: a token bucket, without rounding.

use std::time::{Duration, Instant};

/// Rates are counted in millionths of a token per second.
const MILLIONTHS: u128 = 1_000_000;
/// Credit is counted in tokens times this, so that what a nanosecond brings at any rate is a whole number.
const SCALE: u128 = 1_000_000_000 * MILLIONTHS;

/// Lets out so many tokens per second, and after a pause at most `burst` at once: in any time `t` at most `burst + rate * t`.
///
/// A token is whatever is to be capped, for instance a byte or a request. The bucket reads no clock: the time is passed in.
#[derive(Clone, Debug)]
pub struct TokenBucket {
    /// Millionths of a token per second.
    rate: u128,
    /// The most credit.
    burst: u128,
    credit: u128,
    /// When `credit` was right; unknown before the first use, when the bucket is full.
    at: Option<Instant>,
}

impl TokenBucket {
    /// A full bucket. It lets out at least one token per second.
    pub fn new(per_second: u64, burst: u64) -> Self {
        Self::with_rate(u128::from(per_second.max(1)) * MILLIONTHS, burst)
    }

    /// A full bucket whose rate need not be a whole number. It lets out at least one token in a million seconds.
    pub fn fractional(per_second: f64, burst: u64) -> Self {
        // From a float the conversion saturates, and negative rates are 0.
        Self::with_rate(((per_second * MILLIONTHS as f64) as u128).max(1), burst)
    }

    fn with_rate(rate: u128, burst: u64) -> Self {
        let burst = u128::from(burst) * SCALE;
        Self { rate, burst, credit: burst, at: None }
    }

    /// Whether so many tokens are there by now.
    pub fn has(&mut self, now: Instant, tokens: u64) -> bool {
        let passed = now.saturating_duration_since(self.at.unwrap_or(now));
        let earned = passed.as_nanos().saturating_mul(self.rate);
        self.credit = self.burst.min(self.credit.saturating_add(earned));
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        self.credit >= u128::from(tokens) * SCALE
    }

    /// Takes out so many tokens, if they are there by now.
    pub fn take(&mut self, now: Instant, tokens: u64) -> bool {
        let is_there = self.has(now, tokens);
        if is_there {
            self.credit -= u128::from(tokens) * SCALE;
        }
        is_there
    }

    /// When so many tokens will be there, if none is taken out until then.
    pub fn ready_at(&self, now: Instant, tokens: u64) -> Instant {
        let lacks = (u128::from(tokens) * SCALE).saturating_sub(self.credit);
        let nanos = u64::try_from(lacks.div_ceil(self.rate)).unwrap_or(u64::MAX);
        self.at.unwrap_or(now) + Duration::from_nanos(nanos)
    }

    /// Tokens per second, rounded down.
    pub fn rate(&self) -> u64 {
        u64::try_from(self.rate / MILLIONTHS).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "tests begin at some instant; no other can be had")]
    fn start() -> Instant {
        Instant::now()
    }

    #[test]
    fn the_rate_is_kept_to_the_token_and_a_pause_saves_up_one_burst() {
        // A rate that no number of nanoseconds divides.
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
    fn a_rate_may_be_a_fraction_and_looking_takes_nothing() {
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
