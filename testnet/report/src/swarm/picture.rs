//! Draws when clients finished in the runs of one scenario. All times are multiples of T_min.

use std::collections::BTreeMap;
use std::ops::Range;

use phase_scenario::{Hold, Variant};

use super::outcome::{Outcome, Run, ScenarioOutcome};
use super::report::Report;
use crate::chart::{Axis, COLOURS, Chart, INK, Item, Key, Legend, Mark, PROMISE, Row, Rows, Sheet, Stroke};
use crate::points::{Point, steps};
use crate::svg;

const HEIGHT: f64 = 500.0;
const DEADLINE: Stroke = Stroke::solid(PROMISE, 1);
const BOUND: Stroke = Stroke::dotted(INK);
/// The minimum margin of a time axis, divided by the end of the axis. With a smaller margin, the axis could be so short
/// that rounding errors would be visible as steps.
const LEAST_WIDTH: f64 = 1e-4;

/// The curves of one run: their label, their style, and the report with their figures.
struct Curve<'a> {
    label: String,
    stroke: Stroke,
    report: &'a Report,
}

/// Draws the runs of a scenario as SVG. The left chart shows the whole run, and how much of the artifact the clients
/// had verified. The right chart shows the time from the first finished client to the last.
pub fn plot(scenario: &ScenarioOutcome) -> String {
    let (curves, deadlines) = (curves(&scenario.outcomes), deadlines(&scenario.outcomes, &scenario.hold));
    let [all, finish] = times(&curves, &deadlines);
    let charts = vec![
        (0.5, chart("whole run", all, true, &curves, &deadlines)),
        (0.5, chart("while clients finished", finish, false, &curves, &deadlines)),
    ];
    let runs = scenario.outcomes.len();
    let verdict = match scenario.outcomes.iter().filter(|outcome| !outcome.held()).count() {
        0 => format!("{runs} of {runs} runs kept all promises"),
        broken => format!("{broken} of {runs} runs FAILED"),
    };
    svg::draw(&Sheet {
        title: vec![(format!("{}: {verdict}", scenario.name), INK), (scenario.about.clone(), INK)],
        rows: vec![Row { height: HEIGHT, charts }],
        legend: legend(&curves, !deadlines.is_empty()),
    })
}

/// Returns the curves of all runs that did not break off. Runs with the same label have the same colour.
fn curves<'a>(outcomes: &'a [Outcome]) -> Vec<Curve<'a>> {
    let mut colours = BTreeMap::new();
    let runs = outcomes.iter().flat_map(|outcome| std::iter::once(&outcome.run).chain(&outcome.compared));
    let curve = |run: &'a Run| {
        let count = colours.len();
        let colour = *colours.entry(&run.label).or_insert(COLOURS[count % COLOURS.len()]);
        let (label, stroke) = match run.variant {
            Variant::Whole => (run.label.clone(), Stroke::solid(colour, 3)),
            variant => (format!("{} {variant}", run.label), Stroke::dashed(colour, 2)),
        };
        Some(Curve { label, stroke, report: run.result.as_ref().ok()? })
    };
    runs.filter_map(curve).collect()
}

/// Returns marks for the promises about finish times. A promise that compares with a variant has a mark only if the
/// scenario has exactly one run, because with several runs the mark would differ from run to run.
fn deadlines(outcomes: &[Outcome], hold: &Hold) -> Vec<Mark> {
    let mark = |at, part: f64, words| Mark { at, words, stroke: DEADLINE, down_to: Some(part * 100.0) };
    let own = hold.deadlines().into_iter();
    let mut marks: Vec<_> = own.map(|(name, part, at)| mark(at, part, format!("{name} ≤ {at}"))).collect();
    if let [outcome] = outcomes
        && let Ok(report) = &outcome.run.result
    {
        for (variant, times) in hold.comparisons() {
            let last = outcome.other(variant).and_then(|other| other.last);
            let words = format!("last ≤ {times} x {variant}");
            marks.extend(last.map(|last| mark(times * last / report.t_min, 1.0, words)));
        }
    }
    marks
}

/// Returns the time ranges of the two charts: the whole run, and the time from the first finished client to the last.
/// Both ranges include all deadlines.
fn times(curves: &[Curve<'_>], deadlines: &[Mark]) -> [Range<f64>; 2] {
    let promised = || deadlines.iter().map(|mark| mark.at);
    let end = curves.iter().map(Curve::end).chain(promised()).fold(1.0, f64::max);
    let firsts = curves.iter().filter_map(|curve| Some(curve.report.finish_times.first()? / curve.report.t_min));
    let first = firsts.chain(promised()).fold(end, f64::min);
    let margin = ((end - first) * 0.08).max(end * LEAST_WIDTH);
    [0.0..end * 1.06, (first - margin).max(0.0)..end + margin]
}

fn chart(caption: &str, x: Range<f64>, with_verified: bool, curves: &[Curve<'_>], deadlines: &[Mark]) -> Chart {
    let mut items = Vec::new();
    for curve in curves {
        if with_verified {
            items.push(Item::Line(curve.verified(), Stroke::solid(curve.stroke.colour, 1)));
        }
        items.push(Item::Line(curve.finished(x.end), curve.stroke));
    }
    let bound = Mark { at: 1.0, words: "T_min".to_owned(), stroke: BOUND, down_to: None };
    let name = match same_bound(curves) {
        Some(t_min) => format!("time in multiples of T_min ({})", seconds(t_min)),
        None => "time in multiples of T_min".to_owned(),
    };
    Chart {
        caption: caption.to_owned(),
        x: Axis { name, range: x },
        y: Rows::Values(Axis { name: "clients that have finished (%)".to_owned(), range: 0.0..104.0 }),
        items,
        marks: std::iter::once(bound).chain(deadlines.iter().cloned()).collect(),
    }
}

impl Curve<'_> {
    /// Returns the curve of the part of the clients that had finished, in percent.
    fn finished(&self, end: f64) -> Vec<Point> {
        let Report { t_min, clients, finish_times, .. } = self.report;
        let times: Vec<_> = finish_times.iter().map(|time| time / t_min).collect();
        steps(&times, *clients as usize, end).into_iter().map(|(at, part)| (at, part * 100.0)).collect()
    }

    /// Returns the curve of the mean part of the artifact that the clients had verified, in percent.
    fn verified(&self) -> Vec<Point> {
        let points = self.report.samples.iter().map(|sample| (sample.at / self.report.t_min, sample.mean * 100.0));
        points.collect()
    }

    /// Returns the time at which the last client finished, as a multiple of T_min. If a client did not finish, returns
    /// the end of the run.
    fn end(&self) -> f64 {
        let sampled = self.report.samples.last().filter(|_| !self.report.is_complete()).map(|sample| sample.at);
        let last = self.report.finish_times.last().copied();
        last.into_iter().chain(sampled).fold(0.0, f64::max) / self.report.t_min
    }
}

/// Returns T_min in seconds, or `None` if T_min differs between the runs.
fn same_bound(curves: &[Curve<'_>]) -> Option<f64> {
    let first = curves.first()?.report.t_min;
    curves.iter().all(|curve| curve.report.t_min == first).then_some(first)
}

/// Returns the legend: an entry for each label with the number of its runs, and with T_min if it differs between runs.
fn legend(curves: &[Curve<'_>], has_promises: bool) -> Legend {
    let mut labels: Vec<(&Curve<'_>, Vec<f64>)> = Vec::new();
    for curve in curves {
        match labels.iter_mut().find(|(other, _)| other.label == curve.label) {
            Some((_, bounds)) => bounds.push(curve.report.t_min),
            None => labels.push((curve, vec![curve.report.t_min])),
        }
    }
    let shows_bound = !curves.is_empty() && same_bound(curves).is_none();
    let entry = |(curve, bounds): (&Curve<'_>, Vec<f64>)| {
        let runs = (bounds.len() > 1).then(|| format!("{} runs", bounds.len()));
        let notes: Vec<_> = runs.into_iter().chain(shows_bound.then(|| described(&bounds))).collect();
        let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join(", ")) };
        (Key::Line(curve.stroke), format!("{}{notes}", curve.label))
    };
    let mut legend: Legend = labels.into_iter().map(entry).collect();
    let thin = "thin line: mean part of the artifact that the clients have verified";
    legend.push((Key::Line(Stroke::solid(INK, 1)), thin.to_owned()));
    legend.push((Key::Line(BOUND), "T_min, the shortest possible time".to_owned()));
    if has_promises {
        legend.push((Key::Tick(PROMISE), "promise: the curve must pass to the left of the tick".to_owned()));
    }
    legend
}

/// Describes the smallest and the largest T_min of some runs.
fn described(bounds: &[f64]) -> String {
    let least = bounds.iter().copied().fold(f64::INFINITY, f64::min);
    let greatest = bounds.iter().copied().fold(0.0, f64::max);
    match (seconds(least), seconds(greatest)) {
        (least, greatest) if least == greatest => format!("T_min {least}"),
        (least, greatest) => format!("T_min {least} to {greatest}"),
    }
}

/// Formats a time with enough digits to compare it with a report.
fn seconds(time: f64) -> String {
    if time < 1.0 { format!("{:.3} ms", time * 1e3) } else { format!("{time:.3} s") }
}

#[cfg(test)]
mod tests {
    use super::super::example::{report, run};
    use super::*;

    fn outcomes(results: Vec<Result<Report, String>>) -> Vec<Outcome> {
        let compared = || vec![run(Variant::Honest, Ok(report()))];
        results.into_iter().map(|it| Outcome::new(run(Variant::Whole, it), compared(), |_, _| Vec::new())).collect()
    }

    fn hold() -> Hold {
        serde_json::from_str(r#"{"p50": 1.2, "versus_honest": 2.0}"#).unwrap()
    }

    #[test]
    fn runs_of_every_length_and_size_are_drawn() {
        let short = Report { t_min: 1e-3, finish_times: vec![1.001e-3; 100], samples: Vec::new(), ..report() };
        let none = Report { finished: 0, finish_times: Vec::new(), p50: None, p99: None, last: None, ..report() };
        let crowd = Report {
            clients: 20_000,
            finish_times: (0..20_000).map(|n| 10.0 + f64::from(n) / 1e4).collect(),
            ..report()
        };
        for runs in
            [vec![Ok(short)], vec![Ok(none)], vec![Ok(crowd), Ok(report())], vec![Err("a bug".to_owned())], vec![]]
        {
            let (name, about, outcomes) = ("crowd".to_owned(), String::new(), outcomes(runs));
            let svg = plot(&ScenarioOutcome { name, about, file: None, hold: hold(), outcomes });
            assert!(svg.contains("T_min") && svg.contains("p50 ≤ 1.2") && !svg.contains("NaN"), "{svg}");
            assert!(svg.len() < 200_000, "{} bytes", svg.len());
        }
    }

    #[test]
    fn the_picture_shows_when_clients_finished() {
        let one = outcomes(vec![Ok(report())]);
        let curves = curves(&one);
        let points = curves[0].finished(2.0);
        // Half of the clients finished at 1.1 x T_min, 99 % at 1.3 x T_min, and the last client at 1.5 x T_min.
        for point in [(0.0, 0.0), (1.1, 50.0), (1.3, 99.0), (1.5, 100.0), (2.0, 100.0)] {
            assert!(points.contains(&point), "{point:?} is not in {points:?}");
        }
        let [all, finish] = times(&curves, &[]);
        assert!(finish.start > 1.0 && finish.start < 1.1 && finish.end > 1.5 && finish.end < 1.6, "{finish:?}");
        assert!(all.start == 0.0);
        // With one run, there is a mark for the comparison with the variant without hostile nodes.
        let marks: Vec<_> = deadlines(&one, &hold()).into_iter().map(|mark| (mark.words, mark.at)).collect();
        assert_eq!(marks, [("p50 ≤ 1.2".to_owned(), 1.2), ("last ≤ 2 x without hostile nodes".to_owned(), 3.0)]);
        assert_eq!(deadlines(&outcomes(vec![Ok(report()), Ok(report())]), &hold()).len(), 1);
    }

    #[test]
    fn runs_with_the_same_label_share_a_legend_entry() {
        let texts = |runs| {
            let outcomes = outcomes(runs);
            let entries = legend(&curves(&outcomes), false);
            entries.into_iter().map(|(_, text)| text).take(2).collect::<Vec<_>>()
        };
        assert_eq!(texts(vec![Ok(report())]), ["crowd-100", "crowd-100 without hostile nodes"]);
        let slow = Report { t_min: 20.0, ..report() };
        let expected = [
            "crowd-100 (2 runs, T_min 10.000 s to 20.000 s)",
            "crowd-100 without hostile nodes (2 runs, T_min 10.000 s)",
        ];
        assert_eq!(texts(vec![Ok(report()), Ok(slow)]), expected);
    }
}
