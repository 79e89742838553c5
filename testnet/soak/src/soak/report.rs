//! What came of a soak, and whether it is good.

use std::fmt;

use serde::Serialize;

use super::board::Counts;
use super::gauges::{MIN_POINTS, MemoryTrend, QuietPoint, Sample, clock};

/// What came of it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// What determined the choices.
    pub seed: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
    /// All that has happened.
    pub counts: Counts,
    /// Every quiet point, the first of which is what the others are compared with.
    pub points: Vec<QuietPoint>,
    /// Before anything was started.
    pub before: Option<Sample>,
    /// After everything was stopped.
    pub after: Option<Sample>,
    /// Whether memory grows; none if there were too few quiet points, or the system does not tell.
    pub memory: Option<MemoryTrend>,
    /// What everybody did when it hung; empty if it did not.
    pub hung: Vec<String>,
    /// What was in use that should not have been, in words.
    pub leaks: Vec<String>,
    /// What else went wrong, in words; the first ones.
    pub wrongs: Vec<String>,
}

impl Report {
    /// Whether nothing was lost, hung or leaked.
    pub fn is_good(&self) -> bool {
        let grows = self.memory.is_some_and(|memory| memory.grows);
        self.hung.is_empty() && self.leaks.is_empty() && self.counts.wrong == 0 && !grows
    }

    /// Compares what is used with what was used at first.
    pub(super) fn judge(&mut self) {
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

/// What happened beside the columns, what was wrong, and the verdict.
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
        write!(f, "clients: {left} left in the middle of a fetch; lines: {freezes} froze; ")?;
        writeln!(f, "providers: down for {:.1} s at most", longest_down as f64 / 1e3)?;
        write!(
            f,
            "raw streams: {deaf} did not read, {mute} never read, {halves} halves of frames, {cancelled} cancels, "
        )?;
        writeln!(f, "{subscriptions} subscriptions, {vanished} vanished, {whole} whole artifacts")?;
        if let (Some(before), Some(after)) = (&self.before, &self.after) {
            let descriptors =
                |sample: &Sample| sample.descriptors.map_or_else(|| "-".to_owned(), |open| open.to_string());
            write!(f, "before the first node: {} tasks, {} descriptors; ", before.tasks, descriptors(before))?;
            writeln!(f, "after the last: {} tasks, {} descriptors", after.tasks, descriptors(after))?;
        }
        match &self.memory {
            Some(MemoryTrend { first, last, grows }) => {
                let verdict = if *grows { "grows" } else { "does not grow" };
                writeln!(f, "memory {verdict}: {} MiB at first, {} MiB at last", first >> 20, last >> 20)?;
            }
            None => writeln!(f, "memory is not judged: that takes {MIN_POINTS} quiet points and /proc")?,
        }
        self.hung.iter().try_for_each(|line| writeln!(f, "hangs: {line}"))?;
        self.leaks.iter().try_for_each(|line| writeln!(f, "leaks: {line}"))?;
        self.wrongs.iter().try_for_each(|line| writeln!(f, "wrong: {line}"))?;
        if wrong > self.wrongs.len() as u64 {
            writeln!(f, "wrong: {} more", wrong - self.wrongs.len() as u64)?;
        }
        let verdict = if self.is_good() { "good" } else { "BAD" };
        write!(f, "{verdict}: {} fetches in {:.0} s, seed {}", self.counts.fetches, self.seconds, self.seed)
    }
}
