//! The common parts of charts over time: the time axis, and marks for T_min and events.

use std::ops::Range;

use phase_units::seconds;

use crate::chart::{Axis, Chart, Colour, INK, Key, Legend, Mark, Row, Rows, Stroke, from_zero};
use crate::escape::clipped;
use crate::lab::record::Run;
use crate::lab::series::{end, end_of_run};

const EVENT: Stroke = Stroke::solid(Colour(0x7a3e9d), 1);
const BOUND: Stroke = Stroke::dotted(INK);
/// The maximum number of characters of an event's text. A longer text is shortened.
const MAX_LETTERS: usize = 60;
/// The largest ratio of the time over HTTP to the time over Phase for which one chart shows both. Above this ratio, the
/// curve of Phase would be too narrow, so HTTP gets its own chart.
const FAR_LONGER: f64 = 1.6;

/// Returns an empty chart over a range of time.
pub(super) fn chart(caption: &str, x: Range<f64>, y: Axis) -> Chart {
    let x = Axis { name: "time since the start of the clients (s)".to_owned(), range: x };
    Chart { caption: caption.to_owned(), x, y: Rows::Values(y), items: Vec::new(), marks: Vec::new() }
}

/// Returns the time range of the chart of Phase. If HTTP took far longer, a second chart shows HTTP, and its time range
/// is returned as well.
fn times(run: &Run) -> (Range<f64>, Option<Range<f64>>) {
    let phase = end_of_run(run);
    let http = run.http.as_ref().map_or(0.0, end);
    let phase = if phase > 0.0 { phase } else { http };
    match http > phase * FAR_LONGER {
        true => (from_zero(phase), Some(from_zero(http))),
        false => (from_zero(phase.max(http)), None),
    }
}

/// Returns a row with the chart of Phase and its marks. If HTTP took far longer, a second chart in the row shows the
/// time until HTTP had finished. `chart` makes a chart from a caption and a time range; its last argument is whether
/// this is the chart of Phase.
pub(super) fn beside_http(run: &Run, height: f64, chart: impl Fn(&str, Range<f64>, bool) -> Chart) -> Row {
    let charts = match times(run) {
        (phase, None) => vec![(1.0, Chart { marks: marks(run), ..chart("", phase, true) })],
        (phase, Some(http)) => vec![
            (0.6, Chart { marks: marks(run), ..chart("until Phase had finished", phase, true) }),
            (0.4, chart("until HTTP had finished", http, false)),
        ],
    };
    Row { height, charts }
}

/// Returns marks for T_min and for the events of the run.
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

/// Returns the legend entries for the marks: T_min, if it is finite, and events, if the run has any.
pub(super) fn legend_of_marks(run: &Run) -> Legend {
    let bound = run.t_min.is_finite().then(|| (Key::Line(BOUND), "T_min: no schedule can be faster".to_owned()));
    let event = (Key::Line(EVENT), "event of a node".to_owned());
    let has_events = run.events.iter().any(|event| event.at.is_finite());
    bound.into_iter().chain(has_events.then_some(event)).collect()
}
