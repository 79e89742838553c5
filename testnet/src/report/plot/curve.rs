//! Runs as points.

use std::collections::BTreeMap;
use std::ops::Range;

use plotters::style::RGBColor;

use crate::draw::COLOURS;
use crate::report::{Run, ScenarioOutcome, Variant};

/// The most steps of a curve: more than there are pixels show nothing.
const MAX_STEPS: usize = 800;
/// The least width of a picture, as a part of where it is: rounding would show as steps.
const LEAST_WIDTH: f64 = 1e-4;

/// One run. Times are multiples of its T_min.
pub(super) struct Curve {
    /// Whether other runs are held against it, rather than it against a promise.
    pub(super) is_compared: bool,
    pub(super) label: String,
    pub(super) colour: RGBColor,
    pub(super) t_min: f64,
    /// When which share had finished: increasing.
    steps: Vec<(f64, f64)>,
    verified: Vec<(f64, f64)>,
}

/// The time by which a share of the clients must have finished.
pub(super) struct Deadline {
    pub(super) part: f64,
    pub(super) at: f64,
    pub(super) text: String,
}

/// What of the time is drawn.
pub(super) struct Frame {
    pub(super) x: Range<f64>,
    /// T_min in seconds, if it is the same for all.
    t_min: Option<f64>,
}

impl Curve {
    /// The curves of all runs that did not break off. Those of one label have the same colour.
    pub(super) fn all(scenario: &ScenarioOutcome) -> Vec<Self> {
        let mut colours = BTreeMap::new();
        let runs = scenario.outcomes.iter().flat_map(|outcome| std::iter::once(&outcome.run).chain(&outcome.compared));
        let curves = runs.filter_map(|run| {
            let count = colours.len();
            let colour = *colours.entry(&run.label).or_insert(COLOURS[count % COLOURS.len()]);
            Self::new(run, colour)
        });
        curves.collect()
    }

    fn new(run: &Run, colour: RGBColor) -> Option<Self> {
        let report = run.result.as_ref().ok()?;
        let (t_min, times) = (report.t_min, &report.finish_times);
        let every = times.len().div_ceil(MAX_STEPS).max(1);
        let numbered = times.iter().enumerate().map(|(number, time)| (number + 1, time));
        // The first and the last are always there.
        let shown = numbered.filter(|(number, _)| *number == 1 || number % every == 0 || *number == times.len());
        let steps = shown.map(|(number, time)| (time / t_min, number as f64 / f64::from(report.clients))).collect();
        let verified = report.samples.iter().map(|sample| (sample.at / t_min, sample.mean)).collect();
        let label = match run.variant {
            Variant::Whole => run.label.clone(),
            variant => format!("{} {variant}", run.label),
        };
        Some(Self { is_compared: run.variant != Variant::Whole, label, colour, t_min, steps, verified })
    }

    /// The share that had finished, up to the end of the picture.
    pub(super) fn finished(&self, end: f64) -> Vec<(f64, f64)> {
        let mut points = vec![(0.0, 0.0)];
        for (at, part) in &self.steps {
            let before = points.last().map_or(0.0, |(_, part)| *part);
            points.extend([(*at, before), (*at, *part)]);
        }
        let reached = points.last().map_or(0.0, |(_, part)| *part);
        points.push((end, reached));
        points
    }

    /// What clients had verified on average.
    pub(super) fn verified(&self) -> Vec<(f64, f64)> {
        self.verified.clone()
    }

    fn first(&self) -> Option<f64> {
        self.steps.first().map(|(at, _)| *at)
    }

    /// When the last client finished, or when the run ended.
    fn last(&self) -> f64 {
        let finished = self.steps.last().map_or(0.0, |(at, _)| *at);
        let is_complete = self.steps.last().is_some_and(|(_, part)| *part >= 1.0);
        if is_complete { finished } else { self.verified.last().map_or(finished, |(at, _)| at.max(finished)) }
    }
}

impl Deadline {
    /// What was promised in multiples of T_min; and against other runs, if there is one pair of runs to tell of.
    pub(super) fn all(scenario: &ScenarioOutcome) -> Vec<Self> {
        let own = scenario.hold.deadlines().into_iter().map(|(name, part, at)| {
            let text = format!("{name} ≤ {at}");
            Self { part, at, text }
        });
        let mut all: Vec<_> = own.collect();
        if let [outcome] = scenario.outcomes.as_slice()
            && let Ok(report) = &outcome.run.result
        {
            for (variant, times) in scenario.hold.comparisons() {
                let other = outcome.compared.iter().find(|run| run.variant == variant);
                let other = other.and_then(|run| run.result.as_ref().ok()?.last);
                all.extend(other.map(|last| Self {
                    part: 1.0,
                    at: times * last / report.t_min,
                    text: format!("last ≤ {times} x {variant}"),
                }));
            }
        }
        all
    }
}

impl Frame {
    /// From the start until all that there is has happened.
    pub(super) fn of_all(curves: &[Curve], deadlines: &[Deadline]) -> Self {
        let end = latest(curves, deadlines);
        Self { x: 0.0..end * 1.06, t_min: same_bound(curves) }
    }

    /// From the first client that finished to the last, with all that was promised.
    pub(super) fn of_finish(curves: &[Curve], deadlines: &[Deadline]) -> Self {
        let end = latest(curves, deadlines);
        let first = curves.iter().filter_map(Curve::first).fold(end, f64::min);
        let promised = deadlines.iter().map(|deadline| deadline.at);
        let first = promised.fold(first, f64::min);
        let margin = ((end - first) * 0.08).max(end * LEAST_WIDTH);
        Self { x: (first - margin).max(0.0)..end + margin, t_min: same_bound(curves) }
    }

    pub(super) fn description(&self) -> String {
        match self.t_min {
            Some(t_min) => format!("time, in multiples of the shortest possible: T_min = {}", seconds(t_min)),
            None => "time, in multiples of T_min, the shortest possible".to_owned(),
        }
    }

    /// Digits after the point that tell neighbouring labels apart.
    pub(super) fn digits(&self) -> usize {
        let width = self.x.end - self.x.start;
        (1 - width.log10().floor() as i32).clamp(1, 6) as usize
    }
}

fn latest(curves: &[Curve], deadlines: &[Deadline]) -> f64 {
    let ends = curves.iter().map(Curve::last).chain(deadlines.iter().map(|deadline| deadline.at));
    ends.fold(1.0, f64::max)
}

fn same_bound(curves: &[Curve]) -> Option<f64> {
    let first = curves.first()?.t_min;
    curves.iter().all(|curve| curve.t_min == first).then_some(first)
}

/// A time with the unit that suits it.
pub(super) fn seconds(time: f64) -> String {
    if time < 1.0 { format!("{:.3} ms", time * 1e3) } else { format!("{time:.3} s") }
}
