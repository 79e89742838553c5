//! Draws the verified bytes per second of all clients together, and the total rates of the network links.

use phase_units::{rate, rate_unit, seconds};

use super::timeline::{beside_http, chart, legend_of_marks};
use crate::chart::{Axis, COLOURS, Chart, INK, Item, Key, Legend, Row, Stroke, from_zero};
use crate::lab::record::{Outcome, Run, Setup};
use crate::lab::series::throughput;
use crate::points::Point;

const HEIGHT: f64 = 460.0;
const PHASE: Stroke = Stroke::solid(COLOURS[0], 2);
const HTTP: Stroke = Stroke::solid(COLOURS[1], 2);
const UP: Stroke = Stroke::dashed(INK, 2);
const DOWN: Stroke = Stroke::dashed(COLOURS[3], 2);

/// A curve in bytes per second, its style, and its legend text.
type Curve = (Vec<Point>, Stroke, String);

pub(super) fn of(run: &Run) -> (Vec<Row>, Legend) {
    let curves = curves(run);
    let most = curves.iter().flat_map(|(points, ..)| points).map(|(_, rate)| *rate);
    let most = most.filter(|rate| rate.is_finite()).fold(0.0, f64::max);
    let (name, unit) = rate_unit(most);
    let row = beside_http(run, HEIGHT, |caption, x, _| {
        let y = Axis { name: format!("verified by all clients together ({name})"), range: from_zero(most / unit) };
        let line = |(points, stroke, _): &Curve| {
            Item::Line(points.iter().map(|(at, rate)| (*at, rate / unit)).collect(), *stroke)
        };
        Chart { items: curves.iter().rev().map(line).collect(), ..chart(caption, x, y) }
    });
    let entries = curves.iter().map(|(_, stroke, text)| (Key::Line(*stroke), text.clone()));
    (vec![row], entries.chain(legend_of_marks(run)).collect())
}

fn curves(run: &Run) -> Vec<Curve> {
    let measured = |outcome: &Outcome, stroke, name: &str| {
        let (points, width) = throughput(outcome, run.setup.size());
        let average = match width {
            0.0 => "no measurements".to_owned(),
            width => format!("mean over {} intervals", seconds(width)),
        };
        (points, stroke, format!("{name} ({average})"))
    };
    let limit = |limit: f64, stroke, links: &str| {
        // The curve is a horizontal line that is longer than any chart.
        let text = format!("total rate of all {links}: {}", rate(limit));
        (vec![(0.0, limit), (f64::from(u32::MAX), limit)], stroke, text)
    };
    let mut curves = vec![measured(&run.phase, PHASE, "Phase")];
    curves.extend(run.http.as_ref().map(|http| measured(http, HTTP, "HTTP from one server")));
    let up = uplinks(&run.setup);
    // The total rate of the downlinks is shown only if it is lower than the total rate of the uplinks.
    let down = run.setup.client_down.map(|down| down * f64::from(run.setup.clients));
    let down = down.filter(|down| up.is_none_or(|up| *down < up));
    curves.extend(up.map(|up| limit(up, UP, "uplinks")));
    curves.extend(down.map(|down| limit(down, DOWN, "downlinks")));
    curves
}

/// Returns the total upload rate of all seeds and clients. `None` if a seed or the clients have no limit.
fn uplinks(setup: &Setup) -> Option<f64> {
    let seeds: Option<Vec<f64>> = setup.seed_up.iter().copied().collect();
    let clients = if setup.clients == 0 { 0.0 } else { setup.client_up? * f64::from(setup.clients) };
    Some(seeds?.iter().sum::<f64>() + clients)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::example;

    fn legend(run: &Run) -> String {
        of(run).1.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn uplinks_are_drawn_only_if_all_are_limited() {
        let run = &mut example::crowd().runs[0];
        assert_eq!(uplinks(&run.setup), Some(33.0 * 12.5e6));
        let texts = legend(run);
        assert!(texts.contains("total rate of all uplinks: 3.30 Gbit/s"), "{texts}");
        assert!(texts.contains("HTTP from one server (mean") && !texts.contains("all downlinks"), "{texts}");
        // Both charts contain the curves of Phase, of HTTP, and of the total rate of the uplinks.
        assert_eq!(of(run).0[0].charts.iter().map(|(_, chart)| chart.items.len()).collect::<Vec<_>>(), [3, 3]);
        run.setup.seed_up.push(None);
        assert_eq!(uplinks(&run.setup), None);
        assert!(!legend(run).contains("uplinks"));
    }

    #[test]
    fn downlinks_are_drawn_if_they_are_slower_than_uplinks() {
        let texts = legend(&example::one().runs[0]);
        assert!(texts.contains("total rate of all downlinks: 200 Mbit/s"), "{texts}");
    }
}
