//! A cap on a rate: a token bucket, without rounding.

use std::time::{Duration, Instant};

/// Credit is counted in bytes times this, so that what a nanosecond brings at any rate is a whole number.
const SCALE: u128 = 1_000_000_000;

/// Lets out `rate` bytes per second, and after a pause at most `burst` bytes at once. In any time `t` it lets out at most
/// `burst + rate * t`.
pub(super) struct Bucket {
    /// Bytes per second.
    rate: u64,
    /// The most credit.
    burst: u128,
    credit: u128,
    /// When `credit` was right; unknown before the first use, when the bucket is full.
    at: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(rate: u64, burst: u64) -> Self {
        let burst = u128::from(burst) * SCALE;
        Self { rate: rate.max(1), burst, credit: burst, at: None }
    }

    /// Takes out `bytes`, if they are there by now.
    pub(super) fn take(&mut self, now: Instant, bytes: u64) -> bool {
        let passed = now.saturating_duration_since(self.at.unwrap_or(now));
        self.credit = self.burst.min(self.credit + passed.as_nanos() * u128::from(self.rate));
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        let cost = u128::from(bytes) * SCALE;
        let is_there = self.credit >= cost;
        if is_there {
            self.credit -= cost;
        }
        is_there
    }

    /// When `bytes` will be there, if nothing is taken out until then.
    pub(super) fn ready_at(&self, now: Instant, bytes: u64) -> Instant {
        let lacks = (u128::from(bytes) * SCALE).saturating_sub(self.credit);
        let nanos = u64::try_from(lacks.div_ceil(u128::from(self.rate))).unwrap_or(u64::MAX);
        self.at.unwrap_or(now) + Duration::from_nanos(nanos)
    }

    /// Bytes per second.
    pub(super) fn rate(&self) -> u64 {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::start;
    use super::*;

    #[test]
    fn the_rate_is_kept_to_the_byte_and_a_pause_saves_up_one_burst() {
        // A rate that no number of nanoseconds divides.
        let (mut bucket, begin) = (Bucket::new(7_777_777, 1_000_000), start());
        assert!(bucket.take(begin, 1_000_000));
        let mut sent = 0;
        let mut now = begin;
        while now < begin + Duration::from_secs(1000) {
            now = bucket.ready_at(now, 4321);
            assert!(!bucket.take(now - Duration::from_nanos(1), 4321));
            assert!(bucket.take(now, 4321));
            sent += 4321;
        }
        let earned = (now - begin).as_nanos() * 7_777_777 / SCALE;
        assert!(earned - sent < 4321, "{sent} of {earned}");
        now += Duration::from_secs(3600);
        assert!(bucket.take(now, 1_000_000));
        assert!(!bucket.take(now, 1));
    }
}
