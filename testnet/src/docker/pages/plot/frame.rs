//! Axes with names and units, and which part of the time is drawn.

use std::ops::Range;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::marks::Marks;
use super::series::{Point, end, end_of_run};
use crate::docker::record::Run;
use crate::draw::{Area, Chart, Drawn, INK, PALE, text};

/// Room between charts.
pub(super) const MARGIN: u32 = 12;
/// Room to the right of a chart, for half a number of the axis.
pub(super) const RIGHT: u32 = 28;
/// Room for the numbers and the name of the upright axis.
pub(super) const LEFT: u32 = 74;
const BELOW: u32 = 46;
const CAPTION: u32 = 26;
/// How much of the time is blank behind the last that happens.
const BLANK: f64 = 0.04;
/// HTTP gets a chart of its own if it took so many times as long: otherwise Phase would be a line at the edge.
const FAR_LONGER: f64 = 1.6;

/// A chart's axes.
pub(super) struct Axes<'a> {
    pub(super) caption: &'a str,
    pub(super) x: Range<f64>,
    pub(super) x_name: &'a str,
    pub(super) y: Range<f64>,
    pub(super) y_name: &'a str,
}

/// Which parts of the time are drawn.
pub(super) struct Times {
    /// While Phase distributed.
    pub(super) phase: Range<f64>,
    /// All of the time, if HTTP took far longer.
    pub(super) http: Option<Range<f64>>,
}

impl Times {
    pub(super) fn of(run: &Run) -> Self {
        let phase = end_of_run(run);
        let http = run.http.as_ref().map_or(0.0, end);
        let phase = if phase > 0.0 { phase } else { http };
        if http > phase * FAR_LONGER {
            return Self { phase: from_start(phase), http: Some(from_start(http)) };
        }
        Self { phase: from_start(phase.max(http)), http: None }
    }

    /// The areas of the charts, that of Phase first, and wider.
    pub(super) fn split<'a>(&self, area: &Area<'a>) -> (Area<'a>, Option<Area<'a>>) {
        if self.http.is_none() {
            return (area.clone(), None);
        }
        let (width, _) = area.dim_in_pixel();
        let (phase, http) = area.split_horizontally(width * 3 / 5);
        (phase, Some(http))
    }
}

/// From nothing to a little above; to 1 if there is nothing.
pub(super) fn from_start(end: f64) -> Range<f64> {
    // What is below this is rounding, and what is above overflows when it is made a little more.
    if (1e-9..1e300).contains(&end) { 0.0..end * (1.0 + BLANK) } else { 0.0..1.0 }
}

impl Axes<'_> {
    /// Draws them, with marks above and through the chart.
    pub(super) fn draw<'a>(&self, area: &Area<'a>, marks: &Marks) -> Drawn<Chart<'a>> {
        let (caption, rest) = area.split_vertically(CAPTION);
        let middle = (caption.dim_in_pixel().0 / 2) as i32;
        let style = text(17).color(&INK).pos(Pos::new(HPos::Center, VPos::Top));
        caption.draw(&Text::new(self.caption, (middle, 6), style))?;
        let lanes = marks.lanes(rest.dim_in_pixel().0, &self.x);
        let (above, rest) = rest.split_vertically(lanes.height());
        let mut chart = ChartBuilder::on(&rest)
            .margin(MARGIN)
            .margin_top(0)
            .margin_right(RIGHT)
            .x_label_area_size(BELOW)
            .y_label_area_size(LEFT)
            .build_cartesian_2d(self.x.clone(), self.y.clone())?;
        let (x, y) = (digits(&self.x), digits(&self.y));
        chart
            .configure_mesh()
            .x_desc(self.x_name)
            .y_desc(self.y_name)
            .x_label_formatter(&|value| format!("{value:.x$}"))
            .y_label_formatter(&|value| format!("{value:.y$}"))
            .x_labels(9)
            .y_labels(6)
            .axis_style(INK)
            .bold_line_style(PALE)
            .light_line_style(TRANSPARENT)
            .label_style(text(15).color(&INK))
            .axis_desc_style(text(15).color(&INK))
            .draw()?;
        lanes.draw(&above, &mut chart)?;
        Ok(chart)
    }
}

/// Digits after the point that tell neighbouring numbers of an axis apart.
fn digits(range: &Range<f64>) -> usize {
    let width = range.end - range.start;
    (1.0 - width.log10().floor()).clamp(0.0, 9.0) as usize
}

/// A line, as far as it is in the chart.
pub(super) fn line(chart: &mut Chart<'_>, points: &[Point], style: ShapeStyle) -> Drawn {
    let points = inside(chart, points);
    if points.len() > 1 {
        chart.draw_series(LineSeries::new(points, style))?;
    }
    Ok(())
}

/// A line with dashes, as far as it is in the chart.
pub(super) fn dashed(chart: &mut Chart<'_>, points: &[Point], (size, gap): (u32, u32), style: ShapeStyle) -> Drawn {
    let points = inside(chart, points);
    if points.len() > 1 {
        chart.draw_series(DashedLineSeries::new(points, size, gap, style))?;
    }
    Ok(())
}

/// The points up to the right end of the chart: there the line is cut off. None is above or below.
fn inside(chart: &Chart<'_>, points: &[Point]) -> Vec<Point> {
    let (x, y) = (chart.x_range(), chart.y_range());
    let mut kept = Vec::new();
    let mut before: Option<Point> = None;
    for (at, value) in points.iter().copied().filter(|(at, value)| at.is_finite() && value.is_finite()) {
        let (at, value) = (at.max(x.start), value.clamp(y.start, y.end));
        if at <= x.end {
            kept.push((at, value));
        } else if let Some((from, level)) = before.filter(|(from, _)| *from <= x.end) {
            kept.push((x.end, level + (value - level) * (x.end - from) / (at - from)));
        }
        before = Some((at, value));
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::pages::example;

    #[test]
    fn http_gets_a_chart_of_its_own_only_if_it_took_far_longer() {
        let mut record = example::crowd();
        let times = Times::of(&record.runs[0]);
        assert!(times.phase.end < 20.0 && times.http.is_some_and(|range| range.end > 430.0));
        for client in &mut record.runs[0].http.as_mut().unwrap().clients {
            client.finished = Some(20.0);
        }
        let times = Times::of(&record.runs[0]);
        assert!(times.http.is_none() && times.phase.end > 20.0);
    }

    #[test]
    fn axes_have_a_length_whatever_is_measured() {
        for end in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e308, 1e-300] {
            assert_eq!(from_start(end), 0.0..1.0, "{end}");
        }
        assert_eq!([0.05, 1.0, 13.0, 430.0].map(|end| digits(&(0.0..end))), [3, 1, 0, 0]);
    }

    #[test]
    fn lines_end_at_the_edge_of_the_chart() {
        let mut svg = String::new();
        let root = SVGBackend::with_string(&mut svg, (400, 300)).into_drawing_area();
        let axes = Axes { caption: "", x: 0.0..10.0, x_name: "", y: 0.0..1.0, y_name: "" };
        let chart = axes.draw(&root, &Marks::none()).unwrap();
        let points = [(-1.0, 0.0), (2.0, f64::NAN), (f64::INFINITY, 0.0), (5.0, 0.5), (15.0, 1.5), (30.0, 0.0)];
        assert_eq!(inside(&chart, &points), [(0.0, 0.0), (5.0, 0.5), (10.0, 0.75)]);
    }
}
