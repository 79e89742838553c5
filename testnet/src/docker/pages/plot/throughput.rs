//! What all clients together verified per second.

use std::ops::Range;

use plotters::prelude::*;

use super::frame::{Axes, Times, dashed, from_start, line};
use super::marks::Marks;
use super::series::{Point, throughput};
use super::{Picture, WIDTH};
use crate::docker::pages::units::{rate, rate_unit, seconds};
use crate::docker::record::{Record, Run, Setup};
use crate::draw::{COLOURS, Chart, Drawn, INK, Kind, Legend};

const HEIGHT: u32 = 460;
const PHASE: RGBColor = COLOURS[0];
const HTTP: RGBColor = COLOURS[1];
const DOWN: RGBColor = COLOURS[3];
const TIME: &str = "time since clients were let go (s)";

/// Draws it, with what links can carry.
pub(super) fn draw(record: &Record, run: &Run) -> Drawn<String> {
    let flow = Flow::of(run);
    let times = Times::of(run);
    let legend = Legend::new(flow.entries(run), WIDTH);
    Picture::Throughput.sheet((record, run), HEIGHT, &legend, |area| {
        let (left, right) = times.split(area);
        let caption = if right.is_some() { "while Phase distributed" } else { "" };
        let mut chart = flow.axes(caption, times.phase.clone()).draw(&left, &Marks::of(run))?;
        flow.draw(&mut chart)?;
        if let (Some(area), Some(x)) = (right, times.http.clone()) {
            let mut chart = flow.axes("until HTTP was done", x).draw(&area, &Marks::none())?;
            flow.draw(&mut chart)?;
        }
        Ok(())
    })
}

/// All rates, in `unit`.
struct Flow {
    phase: Vec<Point>,
    http: Vec<Point>,
    /// The parts of the time over which rates are averages, in seconds.
    widths: [f64; 2],
    uplinks: Option<f64>,
    downlinks: Option<f64>,
    most: f64,
    unit: f64,
    y_name: String,
}

impl Flow {
    fn of(run: &Run) -> Self {
        let size = run.setup.size();
        let (phase, width) = throughput(&run.phase, size);
        let (http, http_width) = run.http.as_ref().map_or((Vec::new(), 0.0), |http| throughput(http, size));
        let measured = phase.iter().chain(&http).map(|(_, rate)| *rate).fold(0.0, f64::max);
        let uplinks = uplinks(&run.setup);
        // Where downlinks carry less than uplinks, these are what limits.
        let downlinks = run.setup.client_down.map(|down| down * f64::from(run.setup.clients));
        let downlinks = downlinks.filter(|down| uplinks.is_none_or(|up| *down < up));
        let most = [uplinks, downlinks].into_iter().flatten().filter(|rate| rate.is_finite()).fold(measured, f64::max);
        let (unit, name) = rate_unit(most);
        let scaled = |points: Vec<Point>| points.into_iter().map(|(at, rate)| (at, rate / unit)).collect();
        Self {
            phase: scaled(phase),
            http: scaled(http),
            widths: [width, http_width],
            uplinks,
            downlinks,
            most: most / unit,
            unit,
            y_name: format!("verified by all clients together ({name})"),
        }
    }

    fn axes<'a>(&'a self, caption: &'a str, x: Range<f64>) -> Axes<'a> {
        Axes { caption, x, x_name: TIME, y: from_start(self.most * 1.04), y_name: &self.y_name }
    }

    fn draw(&self, chart: &mut Chart<'_>) -> Drawn {
        let x = chart.x_range();
        for (limit, colour) in [(self.uplinks, INK), (self.downlinks, DOWN)] {
            if let Some(limit) = limit {
                let level = limit / self.unit;
                dashed(chart, &[(x.start, level), (x.end, level)], (7, 5), colour.stroke_width(2))?;
            }
        }
        line(chart, &self.http, HTTP.stroke_width(2))?;
        line(chart, &self.phase, PHASE.stroke_width(2))
    }

    fn entries(&self, run: &Run) -> Vec<(Kind, String)> {
        let average = |width: f64| match width {
            0.0 => "nothing was measured".to_owned(),
            width => format!("average over each {}", seconds(width)),
        };
        let mut texts = vec![(Kind::Line(PHASE, 2), format!("Phase ({})", average(self.widths[0])))];
        if run.http.is_some() {
            texts.push((Kind::Line(HTTP, 2), format!("HTTP from one server ({})", average(self.widths[1]))));
        }
        if let Some(limit) = self.uplinks {
            texts.push((Kind::Dashed(INK, 2), format!("what all uplinks together can carry: {}", rate(limit))));
        }
        if let Some(limit) = self.downlinks {
            texts.push((Kind::Dashed(DOWN, 2), format!("what all downlinks together can carry: {}", rate(limit))));
        }
        texts.extend(Marks::of(run).legend());
        texts
    }
}

/// What seeds and clients together can send, if all are limited.
fn uplinks(setup: &Setup) -> Option<f64> {
    let seeds: Option<Vec<f64>> = setup.seed_up.iter().copied().collect();
    let clients = if setup.clients == 0 { 0.0 } else { setup.client_up? * f64::from(setup.clients) };
    Some(seeds?.iter().sum::<f64>() + clients)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::pages::example;

    #[test]
    fn uplinks_are_drawn_only_if_all_are_limited() {
        let mut record = example::crowd();
        assert_eq!(uplinks(&record.runs[0].setup), Some(33.0 * 12.5e6));
        let svg = draw(&record, &record.runs[0]).unwrap();
        assert!(svg.contains("what all uplinks together can carry: 3.30 Gbit/s"));
        assert!(svg.contains("verified by all clients together (Gbit/s)") && svg.contains("HTTP from one server"));
        // Both curves are in both charts and in the legend.
        for colour in ["#0072B2", "#D55E00"] {
            assert_eq!(svg.matches(&format!("stroke=\"{colour}\"")).count(), 3, "{colour}");
        }
        record.runs[0].setup.seed_up.push(None);
        assert_eq!(uplinks(&record.runs[0].setup), None);
        assert!(!draw(&record, &record.runs[0]).unwrap().contains("what all uplinks"));
    }

    #[test]
    fn what_one_client_can_receive_is_drawn_where_it_is_less() {
        let record = example::one();
        let svg = draw(&record, &record.runs[0]).unwrap();
        assert!(svg.contains("what all downlinks together can carry: 200 Mbit/s"));
        let crowd = example::crowd();
        assert!(!draw(&crowd, &crowd.runs[0]).unwrap().contains("downlinks together"));
    }
}
