//! What the process uses, and what counts as a leak.

use std::fmt;

use serde::Serialize;

use super::board::Counts;
use crate::memory::resident_bytes;

/// Tasks beyond those of the baseline that are no leak: a client that is alone may dial in the very moment of every look.
const TASK_SLACK: u64 = 2;
/// The same of file descriptors: such a dial takes a socket, and a provider may be reading a ref.
const DESCRIPTOR_SLACK: u64 = 4;
/// The same of threads: providers look at their refs every second, on threads that are kept for two.
const THREAD_SLACK: u64 = 4;
/// Memory may vary by this share of what it was at first, and by [`MEMORY_SLACK`].
const MEMORY_SHARE: f64 = 0.1;
/// See [`MEMORY_SHARE`]; in bytes.
const MEMORY_SLACK: u64 = 8 << 20;
/// Quiet points without which memory is not judged: two in each third.
pub(super) const MIN_POINTS: usize = 6;

/// What the process uses at one moment. `None`: this system does not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Tasks of the runtime that have not ended.
    pub tasks: u64,
    /// Open file descriptors.
    pub descriptors: Option<u64>,
    /// Threads.
    pub threads: Option<u64>,
    /// Resident memory, in bytes.
    pub resident: Option<u64>,
}

impl Sample {
    /// That of now. Must be called within the runtime.
    pub(super) fn take() -> Self {
        let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64;
        // Reading the folder opens one more.
        let descriptors = count("/proc/self/fd").map(|open| open.saturating_sub(1));
        Self { tasks, descriptors, threads: count("/proc/self/task"), resident: resident_bytes() }
    }

    /// The least of each of both, but the memory of `later`. A leak is in both, everything else passes.
    pub(super) fn least(&self, later: &Self) -> Self {
        let least = |one: Option<u64>, other: Option<u64>| one.zip(other).map(|(one, other)| one.min(other));
        Self {
            tasks: self.tasks.min(later.tasks),
            descriptors: least(self.descriptors, later.descriptors),
            threads: least(self.threads, later.threads),
            resident: later.resident,
        }
    }

    /// Whether there is no more of anything than in `base`; memory does not count.
    pub(super) fn is_at_most(&self, base: &Self) -> bool {
        self.compared(base).into_iter().all(|(_, now, base, _)| now <= base)
    }

    /// What is more than in `base` by more than the slack, in words.
    pub(super) fn beyond(&self, base: &Self) -> Vec<String> {
        let beyond = self.compared(base).into_iter().filter(|(_, now, base, slack)| *now > base + slack);
        let words =
            beyond.map(|(what, now, base, slack)| format!("{now} {what}, {base} at first, {slack} more are permitted"));
        words.collect()
    }

    /// What is compared: now, in `base`, and the slack. What this system does not tell is left out.
    fn compared(&self, base: &Self) -> Vec<(&'static str, u64, u64, u64)> {
        let kinds = [
            ("tasks", Some(self.tasks), Some(base.tasks), TASK_SLACK),
            ("file descriptors", self.descriptors, base.descriptors, DESCRIPTOR_SLACK),
            ("threads", self.threads, base.threads, THREAD_SLACK),
        ];
        kinds.into_iter().filter_map(|(what, now, base, slack)| Some((what, now?, base?, slack))).collect()
    }
}

/// Entries of a folder of `/proc`.
fn count(folder: &str) -> Option<u64> {
    Some(std::fs::read_dir(folder).ok()?.count() as u64)
}

/// A moment in which nobody does anything.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct QuietPoint {
    /// Since the start, in seconds.
    pub seconds: f64,
    /// What has happened until then.
    pub counts: Counts,
    /// What is used.
    pub sample: Sample,
}

impl QuietPoint {
    /// What stands above the columns.
    pub const HEADER: &'static str = "\
  time  fetches      MiB  cancels  stalls   cuts  reconnects  restarts  tasks   fds  threads  RSS MiB";
}

/// One line below [`QuietPoint::HEADER`].
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

/// Seconds as minutes and seconds.
pub(super) fn clock(seconds: f64) -> String {
    let seconds = seconds as u64;
    format!("{:3}:{:02}", seconds / 60, seconds % 60)
}

/// Whether memory grows.
///
/// Resident memory is what the allocator holds, not what the program does: what was freed counts until it is given back, and
/// which of several arenas grew is chance. But the same load comes again and again, so what the allocator holds levels off,
/// which a leak does not. Hence the median of the last third of the quiet points is compared with that of the first.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct MemoryTrend {
    /// The median of the first third, in bytes.
    pub first: u64,
    /// The median of the last third, in bytes.
    pub last: u64,
    /// Whether that is growth.
    pub grows: bool,
}

impl MemoryTrend {
    /// That of resident memory at quiet points, the baseline being the first; `None` if they are too few, see [`MIN_POINTS`].
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

/// Of an even number, the mean of the two in the middle.
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
    fn memory_that_grows_steadily_is_noticed_and_noise_is_not() {
        let trend = |mib: &[u64]| MemoryTrend::of(&mib.iter().map(|mib| mib * MIB).collect::<Vec<_>>());
        assert_eq!(trend(&[100; 5]), None);
        assert_eq!(trend(&[100; 6]).map(|trend| trend.grows), Some(false));
        // One outlier of three does not count.
        let noisy = trend(&[100, 140, 102, 120, 99, 101, 104, 190, 103]).unwrap();
        assert_eq!((noisy.first, noisy.last, noisy.grows), (102 * MIB, 104 * MIB, false));
        let limit = trend(&[100, 100, 100, 100, 100, 100, 118, 118, 118]).unwrap();
        assert!(!limit.grows);
        assert!(trend(&[100, 100, 100, 100, 100, 100, 119, 119, 119]).unwrap().grows);
        assert!(trend(&[100, 104, 108, 112, 116, 120, 124, 128, 132]).unwrap().grows);
    }

    #[test]
    fn what_is_beyond_the_slack_is_named() {
        let base = Sample { tasks: 10, descriptors: Some(20), threads: Some(4), resident: None };
        let more = |tasks, descriptors| Sample { tasks, descriptors: Some(descriptors), ..base };
        assert!(base.is_at_most(&base) && !more(11, 20).is_at_most(&base));
        assert!(more(10 + TASK_SLACK, 20 + DESCRIPTOR_SLACK).beyond(&base).is_empty());
        let beyond = more(11 + TASK_SLACK, 21 + DESCRIPTOR_SLACK).beyond(&base);
        assert_eq!(
            beyond,
            ["13 tasks, 10 at first, 2 more are permitted", "25 file descriptors, 20 at first, 4 more are permitted"]
        );
        let unknown = Sample { descriptors: None, threads: None, ..more(10, 0) };
        assert!(unknown.beyond(&base).is_empty());
    }
}
