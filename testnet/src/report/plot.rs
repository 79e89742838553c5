//! The course of the runs of one scenario as an SVG picture: which share of the clients had finished when.

mod curve;
mod legend;

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ScenarioOutcome;
use curve::{Curve, Deadline, Frame};
use legend::Legend;

/// The picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the runs: {0}")]
pub struct PlotError(String);

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;
type Chart<'a> = ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

const WIDTH: u32 = 1280;
const CHART_HEIGHT: u32 = 500;
const TITLE_HEIGHT: u32 = 64;
const INK: RGBColor = RGBColor(0x22, 0x22, 0x22);
const PALE: RGBColor = RGBColor(0xdd, 0xdd, 0xdd);
const PROMISE: RGBColor = RGBColor(0xb0, 0x00, 0x20);

/// Draws the runs of a scenario. To the left all of the time, with what clients had verified on average; to the right the
/// time in which clients finished.
///
/// # Errors
/// If something cannot be drawn, which would be a bug.
pub fn plot(scenario: &ScenarioOutcome) -> Result<String, PlotError> {
    let mut svg = String::new();
    draw(scenario, &mut svg).map_err(|error| PlotError(error.to_string()))?;
    Ok(svg)
}

fn draw(scenario: &ScenarioOutcome, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
    let (curves, deadlines) = (Curve::all(scenario), Deadline::all(scenario));
    let legend = Legend::new(&curves, !deadlines.is_empty(), WIDTH);
    let height = TITLE_HEIGHT + CHART_HEIGHT + legend.height();
    let root = SVGBackend::with_string(svg, (WIDTH, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (title, rest) = root.split_vertically(TITLE_HEIGHT);
    draw_title(&title, scenario)?;
    let (charts, below) = rest.split_vertically(CHART_HEIGHT);
    let (left, right) = charts.split_horizontally(WIDTH / 2);
    let all = Frame::of_all(&curves, &deadlines);
    draw_chart(&left, "all of the time", &all, &curves, &deadlines, true)?;
    let finish = Frame::of_finish(&curves, &deadlines);
    draw_chart(&right, "while clients finished", &finish, &curves, &deadlines, false)?;
    legend.draw(&below)?;
    root.present()?;
    Ok(())
}

fn draw_title(area: &Area<'_>, scenario: &ScenarioOutcome) -> Result<(), Box<dyn std::error::Error>> {
    let runs = scenario.outcomes.len();
    let broken = scenario.outcomes.iter().filter(|outcome| !outcome.held()).count();
    let verdict = match broken {
        0 => format!("{runs} of {runs} runs as promised"),
        broken => format!("{broken} of {runs} runs FAILED"),
    };
    let (name, about) = (&scenario.name, &scenario.about);
    area.draw(&Text::new(format!("{name}: {verdict}"), (20, 14), text(22).color(&INK)))?;
    area.draw(&Text::new(about.clone(), (20, 42), text(16).color(&INK)))?;
    Ok(())
}

fn draw_chart(
    area: &Area<'_>,
    caption: &str,
    frame: &Frame,
    curves: &[Curve],
    deadlines: &[Deadline],
    with_verified: bool,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut chart = ChartBuilder::on(area)
        .margin(12)
        .margin_right(28)
        .caption(caption, text(17).color(&INK))
        .x_label_area_size(46)
        .y_label_area_size(62)
        .build_cartesian_2d(frame.x.clone(), 0.0..1.06)?;
    let digits = frame.digits();
    chart
        .configure_mesh()
        .x_desc(frame.description())
        .y_desc("clients that have everything")
        .x_label_formatter(&|x| format!("{x:.digits$}"))
        .y_label_formatter(&|y| format!("{:.0} %", y * 100.0))
        .x_labels(9)
        .y_labels(6)
        .axis_style(INK)
        .bold_line_style(PALE)
        .light_line_style(TRANSPARENT)
        .label_style(text(14).color(&INK))
        .axis_desc_style(text(15).color(&INK))
        .draw()?;
    draw_bound(&mut chart, frame)?;
    for curve in curves {
        if with_verified {
            chart.draw_series(LineSeries::new(curve.verified(), curve.colour.mix(0.7).stroke_width(1)))?;
        }
        let steps = curve.finished(frame.x.end);
        let style = curve.colour.stroke_width(if curve.is_compared { 2 } else { 3 });
        match curve.is_compared {
            true => drop(chart.draw_series(DashedLineSeries::new(steps, 7, 5, style))?),
            false => drop(chart.draw_series(LineSeries::new(steps, style))?),
        }
    }
    for deadline in deadlines {
        draw_deadline(&mut chart, deadline)?;
    }
    Ok(())
}

/// The shortest possible time, if it is in the picture.
fn draw_bound(chart: &mut Chart<'_>, frame: &Frame) -> Result<(), Box<dyn std::error::Error>> {
    if frame.x.contains(&1.0) {
        chart.draw_series(DashedLineSeries::new([(1.0, 0.0), (1.0, 1.06)], 2, 4, INK.stroke_width(2)))?;
    }
    Ok(())
}

/// A curve keeps its promise if it passes to the left of the mark, or through it.
fn draw_deadline(chart: &mut Chart<'_>, deadline: &Deadline) -> Result<(), Box<dyn std::error::Error>> {
    let at = (deadline.at, deadline.part);
    let (above, pos) = match deadline.part {
        1.0 => (-6, VPos::Bottom),
        0.99.. => (6, VPos::Top),
        _ => (0, VPos::Center),
    };
    let near_end = chart.x_range().end - deadline.at < 0.3 * (chart.x_range().end - chart.x_range().start);
    let (beside, hpos) = if near_end { (-8, HPos::Right) } else { (8, HPos::Left) };
    let style = text(14).color(&PROMISE).pos(Pos::new(hpos, pos));
    let mark = EmptyElement::at(at)
        + PathElement::new([(0, -8), (0, 8)], PROMISE.stroke_width(3))
        + Text::new(deadline.text.clone(), (beside, above), style);
    chart.draw_series([mark])?;
    Ok(())
}

fn text(size: u32) -> TextStyle<'static> {
    ("sans-serif", size).into_font().into()
}
