//! Measures the resources that the process uses, and decides what counts as a leak.

use std::fmt;

use serde::Serialize;

use super::board::Counts;
use crate::memory::resident_bytes;

/// The number of tasks by which a sample may exceed the baseline. It is not 0, because a client without connections may
/// be dialling when the sample is taken.
const TASK_SLACK: u64 = 2;
/// The number of file descriptors by which a sample may exceed the baseline. It is not 0, because a client that dials
/// needs a socket, and a provider may be reading a ref.
const DESCRIPTOR_SLACK: u64 = 4;
/// The number of threads by which a sample may exceed the baseline. It is not 0, because providers check their refs
/// every second, on threads that exit after two idle seconds.
const THREAD_SLACK: u64 = 4;
/// The permitted growth of memory, as a fraction of its first value. [`MEMORY_SLACK`] is added to it.
const MEMORY_SHARE: f64 = 0.1;
/// The part of the permitted growth of memory that does not depend on the first value, in bytes.
const MEMORY_SLACK: u64 = 8 << 20;
/// The least number of [quiet points](QuietPoint) for a verdict on the growth of memory: two in each third of the soak.
pub(super) const MIN_POINTS: usize = 6;

/// The resources that the process uses at one moment. A field is `None` if the operating system does not report its
/// value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The number of tasks of the tokio runtime that have not ended.
    pub tasks: u64,
    /// The number of open file descriptors.
    pub descriptors: Option<u64>,
    /// The number of threads of the process.
    pub threads: Option<u64>,
    /// The resident memory of the process, in bytes.
    pub resident: Option<u64>,
}

impl Sample {
    /// Takes a sample. Must be called within the tokio runtime.
    pub(super) fn take() -> Self {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64;
        // Subtract 1, because reading the folder opens one more descriptor.
        let descriptors = count("/proc/self/fd").map(|open| open.saturating_sub(1));
        Self { tasks, descriptors, threads: count("/proc/self/task"), resident: resident_bytes() }
    }

    /// Combines two samples: returns the lower value of each count, and the memory of `later`. A leak is in both
    /// samples, but short-lived use is usually in only one.
    pub(super) fn least(&self, later: &Self) -> Self {
        let least = |one: Option<u64>, other: Option<u64>| one.zip(other).map(|(one, other)| one.min(other));
        Self {
            tasks: self.tasks.min(later.tasks),
            descriptors: least(self.descriptors, later.descriptors),
            threads: least(self.threads, later.threads),
            resident: later.resident,
        }
    }

    /// Whether no count is higher than in `base`. Ignores memory.
    pub(super) fn is_at_most(&self, base: &Self) -> bool {
        self.compared(base).into_iter().all(|(_, now, base, _)| now <= base)
    }

    /// Returns one text for each count that exceeds the count in `base` by more than the slack.
    pub(super) fn beyond(&self, base: &Self) -> Vec<String> {
        let beyond = self.compared(base).into_iter().filter(|(_, now, base, slack)| *now > base + slack);
        let words = beyond
            .map(|(what, now, base, slack)| format!("{now} {what}, {base} at first, at most {slack} more permitted"));
        words.collect()
    }

    /// Compares each resource except memory with `base`. Returns the name of the resource, its count now, its count in
    /// `base`, and the slack. Leaves out resources that the operating system does not report.
    fn compared(&self, base: &Self) -> Vec<(&'static str, u64, u64, u64)> {
        let kinds = [
            ("tasks", Some(self.tasks), Some(base.tasks), TASK_SLACK),
            ("file descriptors", self.descriptors, base.descriptors, DESCRIPTOR_SLACK),
            ("threads", self.threads, base.threads, THREAD_SLACK),
        ];
        kinds.into_iter().filter_map(|(what, now, base, slack)| Some((what, now?, base?, slack))).collect()
    }
}

/// Returns the number of entries in a folder of `/proc`.
fn count(folder: &str) -> Option<u64> {
    Some(std::fs::read_dir(folder).ok()?.count() as u64)
}

/// The figures of a soak at one quiet point. A quiet point is a moment after a load at which all actors pause and all
/// connections are closed, so that a leak can be measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QuietPoint {
    /// The time from the start of the soak to this quiet point, in seconds.
    pub seconds: f64,
    /// The counters of the soak at this quiet point.
    pub counts: Counts,
    /// The resources that are in use at this quiet point.
    pub sample: Sample,
}

impl QuietPoint {
    /// The header line of the table of quiet points.
    pub const HEADER: &'static str = "\
  time  fetches      MiB  cancels  stalls   cuts  reconnects  restarts  tasks   fds  threads  RSS MiB";
}

/// Formats the quiet point as a row of the table whose header is [`QuietPoint::HEADER`].
impl fmt::Display for QuietPoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { fetches, bytes, cancels, stalls, cuts, reconnects, restarts, .. } = self.counts;
        let Sample { tasks, descriptors, threads, resident } = self.sample;
        let or_dash = |figure: Option<u64>| figure.map_or_else(|| "-".to_owned(), |figure| figure.to_string());
        write!(f, "{} {fetches:8} {:8} {cancels:8} {stalls:7}", clock(self.seconds), bytes >> 20)?;
        write!(f, " {cuts:6} {reconnects:11} {restarts:9} {tasks:6}")?;
        let resident = resident.map(|bytes| bytes >> 20);
        write!(f, " {:>5} {:>8} {:>8}", or_dash(descriptors), or_dash(threads), or_dash(resident))
    }
}

/// Formats seconds as minutes and seconds.
pub(super) fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!("{:3}:{:02}", seconds / 60, seconds % 60)
}

/// The trend of memory: whether it grows over the [quiet points](QuietPoint) of a soak.
///
/// Resident memory varies without a leak, because it includes freed memory that the allocator keeps. The load repeats,
/// so this variation levels off. A leak keeps growing. Therefore the median of the last third of the quiet points is
/// compared with the median of the first third.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MemoryTrend {
    /// The median memory at the first third of the quiet points, in bytes.
    pub first: u64,
    /// The median memory at the last third of the quiet points, in bytes.
    pub last: u64,
    /// Whether `last` exceeds `first` by more than the permitted growth.
    pub grows: bool,
}

impl MemoryTrend {
    /// Computes the trend from the resident memory at each quiet point, in the order of time. Returns `None` if there
    /// are fewer than [`MIN_POINTS`] quiet points.
    pub(super) fn of(resident: &[u64]) -> Option<Self> {
        if resident.len() < MIN_POINTS {
            return None;
        }
        let third = resident.len() / 3;
        let (first, last) = (median(&resident[..third]), median(&resident[resident.len() - third..]));
        let most = first + (first as f64 * MEMORY_SHARE) as u64 + MEMORY_SLACK;
        Some(Self { first, last, grows: last > most })
    }
}

/// Returns the median. For an even number of values, returns the mean of the two middle values.
fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { sorted[middle - 1].midpoint(sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn steady_growth_of_memory_is_noticed_and_noise_is_not() {
        let trend = |mib: &[u64]| MemoryTrend::of(&mib.iter().map(|mib| mib * MIB).collect::<Vec<_>>());
        assert_eq!(trend(&[100; 5]), None);
        assert_eq!(trend(&[100; 6]).map(|trend| trend.grows), Some(false));
        // One outlier among three values does not change the median.
        let noisy = trend(&[100, 140, 102, 120, 99, 101, 104, 190, 103]).unwrap();
        assert_eq!((noisy.first, noisy.last, noisy.grows), (102 * MIB, 104 * MIB, false));
        let limit = trend(&[100, 100, 100, 100, 100, 100, 118, 118, 118]).unwrap();
        assert!(!limit.grows);
        assert!(trend(&[100, 100, 100, 100, 100, 100, 119, 119, 119]).unwrap().grows);
        assert!(trend(&[100, 104, 108, 112, 116, 120, 124, 128, 132]).unwrap().grows);
    }

    #[test]
    fn counts_that_exceed_the_slack_are_reported() {
        let base = Sample { tasks: 10, descriptors: Some(20), threads: Some(4), resident: None };
        let more = |tasks, descriptors| Sample { tasks, descriptors: Some(descriptors), ..base };
        assert!(base.is_at_most(&base) && !more(11, 20).is_at_most(&base));
        assert!(more(10 + TASK_SLACK, 20 + DESCRIPTOR_SLACK).beyond(&base).is_empty());
        let beyond = more(11 + TASK_SLACK, 21 + DESCRIPTOR_SLACK).beyond(&base);
        assert_eq!(
            beyond,
            [
                "13 tasks, 10 at first, at most 2 more permitted",
                "25 file descriptors, 20 at first, at most 4 more permitted"
            ]
        );
        let unknown = Sample { descriptors: None, threads: None, ..more(10, 0) };
        assert!(unknown.beyond(&base).is_empty());
    }
}
