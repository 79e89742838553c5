//! How fast uploads are.

use std::time::{Duration, Instant};

/// The shortest time over which a rate is measured: shorter ones measure the end of single jobs.
const INTERVAL: Duration = Duration::from_millis(100);
/// The weight of a new measurement against all before, in tenths, if it is the greater one.
const WEIGHT_TENTHS: u64 = 4;
/// The same if it is the lesser one: that may be the peers and not the uplink.
const LESSER_WEIGHT_TENTHS: u64 = 1;

/// Bytes per second, averaged over the time in which jobs were under way: how fast uploads can be.
#[derive(Default)]
pub(super) struct Meter {
    /// Until when `busy` has been counted; `None` while nothing is under way.
    counted: Option<Instant>,
    /// The time of this measurement in which something was under way.
    busy: Duration,
    bytes: u64,
    per_second: Option<u64>,
}

impl Meter {
    /// Something is under way.
    pub(super) fn start(&mut self, now: Instant) {
        self.counted.get_or_insert(now);
    }

    /// A job has ended; `is_idle`: nothing is under way any more.
    pub(super) fn end(&mut self, now: Instant, bytes: u64, is_idle: bool) {
        let since = self.counted.unwrap_or(now);
        self.busy += now.saturating_duration_since(since);
        self.counted = (!is_idle).then_some(since.max(now));
        self.bytes += bytes;
        if self.busy < INTERVAL {
            return;
        }
        let measured = u128::from(self.bytes) * 1_000_000_000 / self.busy.as_nanos();
        let measured = u64::try_from(measured).unwrap_or(u64::MAX);
        self.per_second = Some(match self.per_second {
            Some(average) => {
                let weight = if measured > average { WEIGHT_TENTHS } else { LESSER_WEIGHT_TENTHS };
                average / 10 * (10 - weight) + measured / 10 * weight
            }
            None => measured,
        });
        (self.busy, self.bytes) = (Duration::ZERO, 0);
    }

    /// Bytes per second, at least 1, once something has been measured.
    pub(super) fn rate(&self) -> Option<u64> {
        self.per_second.map(|rate| rate.max(1))
    }
}

/// How long `bytes` take at `rate` bytes per second, which is not 0.
pub(super) fn time_of(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::tests::start;
    use super::*;

    #[test]
    fn only_time_with_something_under_way_counts() {
        let (mut meter, mut now) = (Meter::default(), start());
        assert_eq!(meter.rate(), None);
        for _ in 0..20 {
            // 1 MB/s for 30 ms, then nothing for a minute.
            meter.start(now);
            now += Duration::from_millis(30);
            meter.end(now, 30_000, true);
            now += Duration::from_secs(60);
        }
        assert_eq!(meter.rate(), Some(1_000_000));
        meter.start(now);
        now += Duration::from_secs(1);
        meter.end(now, 500_000, true);
        assert_eq!(meter.rate(), Some(950_000), "falls slowly");
        meter.start(now);
        now += Duration::from_secs(1);
        meter.end(now, 1_950_000, true);
        assert_eq!(meter.rate(), Some(1_350_000), "and rises quickly");
        assert_eq!(time_of(2_500_000, 1_000_000), Duration::from_millis(2500));
    }
}
