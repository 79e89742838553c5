//! What charts of a run over time have in common: which part of the time they show, and what happened in it.

use std::ops::Range;

use phase_units::seconds;

use crate::chart::{Axis, Chart, Colour, INK, Key, Legend, Mark, Row, Rows, Stroke, from_zero};
use crate::escape::clipped;
use crate::lab::record::Run;
use crate::lab::series::{end, end_of_run};

const EVENT: Stroke = Stroke::solid(Colour(0x7a3e9d), 1);
const BOUND: Stroke = Stroke::dotted(INK);
/// The most letters of an event: more do not fit beside others.
const MAX_LETTERS: usize = 60;
/// HTTP gets a chart of its own if it took so many times as long: otherwise Phase would be a line at the edge.
const FAR_LONGER: f64 = 1.6;

/// A chart over a part of the time, without anything in it.
pub(super) fn chart(caption: &str, x: Range<f64>, y: Axis) -> Chart {
    let x = Axis { name: "time since clients were let go (s)".to_owned(), range: x };
    Chart { caption: caption.to_owned(), x, y: Rows::Values(y), items: Vec::new(), marks: Vec::new() }
}

/// The time in which Phase distributed, and all of the time too if HTTP took far longer.
fn times(run: &Run) -> (Range<f64>, Option<Range<f64>>) {
    let phase = end_of_run(run);
    let http = run.http.as_ref().map_or(0.0, end);
    let phase = if phase > 0.0 { phase } else { http };
    match http > phase * FAR_LONGER {
        true => (from_zero(phase), Some(from_zero(http))),
        false => (from_zero(phase.max(http)), None),
    }
}

/// What `chart` makes of the time in which Phase distributed, with marks; and beside it, if HTTP took far longer, what it makes
/// of all of the time.
pub(super) fn beside_http(run: &Run, height: f64, chart: impl Fn(&str, Range<f64>, bool) -> Chart) -> Row {
    let charts = match times(run) {
        (phase, None) => vec![(1.0, Chart { marks: marks(run), ..chart("", phase, true) })],
        (phase, Some(http)) => vec![
            (0.6, Chart { marks: marks(run), ..chart("while Phase distributed", phase, true) }),
            (0.4, chart("until HTTP was done", http, false)),
        ],
    };
    Row { height, charts }
}

/// The shortest possible time, and what happened to nodes.
pub(super) fn marks(run: &Run) -> Vec<Mark> {
    let bound = Mark { at: run.t_min, words: format!("T_min {}", seconds(run.t_min)), stroke: BOUND, down_to: None };
    let events = run.events.iter().map(|event| Mark {
        at: event.at,
        words: clipped(&event.text, MAX_LETTERS),
        stroke: EVENT,
        down_to: None,
    });
    std::iter::once(bound).chain(events).filter(|mark| mark.at.is_finite()).collect()
}

/// What the marks mean.
pub(super) fn legend_of_marks(run: &Run) -> Legend {
    let bound = run.t_min.is_finite().then(|| (Key::Line(BOUND), "T_min: no scheme can be quicker".to_owned()));
    let event = (Key::Line(EVENT), "something happened to a node".to_owned());
    let has_events = run.events.iter().any(|event| event.at.is_finite());
    bound.into_iter().chain(has_events.then_some(event)).collect()
}
