//! The result of a soak, and whether it passed.

use std::fmt;

use serde::Serialize;

use super::board::Counts;
use super::gauges::{MIN_POINTS, MemoryTrend, QuietPoint, Sample, clock};

/// The measurements and the failures of a soak.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// The RNG seed of the soak.
    pub seed: u64,
    /// The duration of the soak, in seconds.
    pub seconds: f64,
    /// The counters at the end of the soak.
    pub counts: Counts,
    /// All [quiet points](QuietPoint) in the order of time. The first is the baseline, with which the later ones are
    /// compared.
    pub points: Vec<QuietPoint>,
    /// The resources in use before anything was started.
    pub before: Option<Sample>,
    /// The resources in use after everything was stopped.
    pub after: Option<Sample>,
    /// Whether memory grows; `None` if there were too few quiet points, or the operating system does not report memory.
    pub memory: Option<MemoryTrend>,
    /// One text for each actor that was working when the soak hung, with its work; empty if the soak did not hang.
    pub hung: Vec<String>,
    /// One text for each resource whose use exceeded the baseline by more than the slack, at a quiet point or at the
    /// end.
    pub leaks: Vec<String>,
    /// One text for each failure. Only the first 32 failures are kept.
    pub wrongs: Vec<String>,
}

impl Report {
    /// Whether the soak passed: there was no failure, nothing hung or leaked, and memory does not grow.
    pub fn is_good(&self) -> bool {
        let grows = self.memory.is_some_and(|memory| memory.grows);
        self.hung.is_empty() && self.leaks.is_empty() && self.counts.wrong == 0 && !grows
    }

    /// Compares the resources at each quiet point with the baseline, and sets `leaks` and `memory`.
    pub(super) fn find_leaks(&mut self) {
        if let Some((base, later)) = self.points.split_first() {
            for point in later {
                let beyond = point.sample.beyond(&base.sample).into_iter();
                self.leaks.extend(beyond.map(|leak| format!("quiet point at {}: {leak}", clock(point.seconds).trim())));
            }
        }
        if let (Some(before), Some(after)) = (self.before, self.after) {
            let beyond = after.beyond(&before).into_iter();
            self.leaks.extend(beyond.map(|leak| format!("after everything was stopped: {leak}")));
        }
        let resident: Option<Vec<_>> = self.points.iter().map(|point| point.sample.resident).collect();
        self.memory = resident.and_then(|resident| MemoryTrend::of(&resident));
    }
}

/// Formats the counters that are not in the table of quiet points, the failures, and the verdict.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            left,
            freezes,
            deaf,
            mute,
            halves,
            cancelled,
            subscriptions,
            vanished,
            whole,
            wrong,
            longest_down,
            ..
        } = self.counts;
        write!(f, "clients that left during a fetch: {left}; proxies frozen: {freezes}; ")?;
        writeln!(f, "longest time that a provider was down: {:.1} s", longest_down as f64 / 1e3)?;
        write!(f, "raw streams: paused reading {deaf}, never read {mute}, wrote half a frame {halves}, ")?;
        write!(f, "cancelled requests {cancelled}, subscriptions {subscriptions}, vanished {vanished}, ")?;
        writeln!(f, "received whole artifacts {whole}")?;
        if let (Some(before), Some(after)) = (&self.before, &self.after) {
            let descriptors =
                |sample: &Sample| sample.descriptors.map_or_else(|| "-".to_owned(), |open| open.to_string());
            write!(f, "before the first node: tasks {}, descriptors {}; ", before.tasks, descriptors(before))?;
            writeln!(f, "after the last: tasks {}, descriptors {}", after.tasks, descriptors(after))?;
        }
        match &self.memory {
            Some(MemoryTrend { first, last, grows }) => {
                let verdict = if *grows { "grows" } else { "does not grow" };
                writeln!(f, "memory {verdict}: {} MiB at first, {} MiB at last", first >> 20, last >> 20)?;
            }
            None => writeln!(f, "memory not judged: that needs {MIN_POINTS} quiet points and /proc")?,
        }
        self.hung.iter().try_for_each(|line| writeln!(f, "hung: {line}"))?;
        self.leaks.iter().try_for_each(|line| writeln!(f, "leak: {line}"))?;
        self.wrongs.iter().try_for_each(|line| writeln!(f, "failure: {line}"))?;
        if wrong > self.wrongs.len() as u64 {
            writeln!(f, "failures not listed: {}", wrong - self.wrongs.len() as u64)?;
        }
        let verdict = if self.is_good() { "passed" } else { "FAILED" };
        write!(f, "{verdict}: fetches {} in {:.0} s, seed {}", self.counts.fetches, self.seconds, self.seed)
    }
}
