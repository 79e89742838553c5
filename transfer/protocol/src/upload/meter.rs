//! The measured upload rate.

use std::time::{Duration, Instant};

/// The minimum time over which the upload rate is measured. Over a shorter time, the result would depend on single
/// jobs.
const INTERVAL: Duration = Duration::from_millis(100);
/// The weight, in tenths, of a new measurement of the upload rate that is above the average.
const WEIGHT_TENTHS: u64 = 4;
/// The weight, in tenths, of a new measurement that is not above the average. It is lower than the weight of a
/// measurement above the average, because slow peers may cause a low rate, and not the uplink.
const LESSER_WEIGHT_TENTHS: u64 = 1;

/// The average upload rate over the time in which jobs were running. It estimates how fast uploads can be.
#[derive(Default)]
pub(super) struct Meter {
    /// The time up to which running jobs are counted in `busy`; `None` while no job is running.
    counted_until: Option<Instant>,
    /// How long jobs have been running during the current measurement.
    busy: Duration,
    /// The bytes of the jobs that ended in the current measurement.
    bytes: u64,
    /// The moving average of the upload rate, in bytes per second; `None` before the first measurement.
    per_second: Option<u64>,
}

impl Meter {
    /// Counts a job that starts. If no other job is running, the time begins to count at `now`.
    pub(super) fn start(&mut self, now: Instant) {
        self.counted_until.get_or_insert(now);
    }

    /// Counts a job of `bytes` that has ended. `is_idle` states whether no other job is running.
    pub(super) fn end(&mut self, now: Instant, bytes: u64, is_idle: bool) {
        let since = self.counted_until.unwrap_or(now);
        self.busy += now.saturating_duration_since(since);
        self.counted_until = (!is_idle).then_some(since.max(now));
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

    /// Returns the rate in bytes per second, at least 1; `None` before the first measurement.
    pub(super) fn rate(&self) -> Option<u64> {
        self.per_second.map(|rate| rate.max(1))
    }
}

/// Returns how long it takes to send `bytes` at `rate` bytes per second. `rate` must not be 0.
pub(super) fn time_of(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::super::tests::start;
    use super::*;

    #[test]
    fn only_time_with_running_jobs_counts_for_the_rate() {
        let (mut meter, mut now) = (Meter::default(), start());
        assert_eq!(meter.rate(), None);
        for _ in 0..20 {
            // One job runs for 30 ms at 1 MB/s, and then no job runs for a minute.
            meter.start(now);
            now += Duration::from_millis(30);
            meter.end(now, 30_000, true);
            now += Duration::from_secs(60);
        }
        assert_eq!(meter.rate(), Some(1_000_000));
        meter.start(now);
        now += Duration::from_secs(1);
        meter.end(now, 500_000, true);
        assert_eq!(meter.rate(), Some(950_000), "the rate falls slowly");
        meter.start(now);
        now += Duration::from_secs(1);
        meter.end(now, 1_950_000, true);
        assert_eq!(meter.rate(), Some(1_350_000), "the rate rises quickly");
        assert_eq!(time_of(2_500_000, 1_000_000), Duration::from_millis(2500));
    }
}
