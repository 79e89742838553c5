//! The course of the runs of one scenario as an SVG picture: which share of the clients had finished when.

mod curve;
mod legend;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::ScenarioOutcome;
use crate::draw::{Area, Chart, Drawn, INK, LETTER, Legend, PALE, PROMISE, text};
use curve::{Curve, Deadline, Frame};

/// The picture could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("cannot draw the runs: {0}")]
pub struct PlotError(String);

const WIDTH: u32 = 1280;
const CHART_HEIGHT: u32 = 500;
const TITLE_HEIGHT: u32 = 64;

/// Draws the runs of a scenario. To the left all of the time, with what clients had verified on average; to the right
/// the time in which clients finished.
///
/// # Errors
/// If something cannot be drawn, which would be a bug.
pub fn plot(scenario: &ScenarioOutcome) -> Result<String, PlotError> {
    let mut svg = String::new();
    draw(scenario, &mut svg).map_err(|error| PlotError(error.to_string()))?;
    Ok(svg)
}

fn draw(scenario: &ScenarioOutcome, svg: &mut String) -> Drawn {
    let (curves, deadlines) = (Curve::all(scenario), Deadline::all(scenario));
    let legend = Legend::new(legend::entries(&curves, !deadlines.is_empty()), WIDTH);
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

fn draw_title(area: &Area<'_>, scenario: &ScenarioOutcome) -> Drawn {
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
) -> Drawn {
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
fn draw_bound(chart: &mut Chart<'_>, frame: &Frame) -> Drawn {
    if frame.x.contains(&1.0) {
        chart.draw_series(DashedLineSeries::new([(1.0, 0.0), (1.0, 1.06)], 2, 4, INK.stroke_width(2)))?;
    }
    Ok(())
}

/// A curve keeps its promise if it passes to the left of the mark, or through it.
fn draw_deadline(chart: &mut Chart<'_>, deadline: &Deadline) -> Drawn {
    let at = (deadline.at, deadline.part);
    let (above, pos) = match deadline.part {
        1.0 => (-6, VPos::Bottom),
        0.99.. => (6, VPos::Top),
        _ => (0, VPos::Center),
    };
    let near_end = chart.x_range().end - deadline.at < 0.3 * (chart.x_range().end - chart.x_range().start);
    let (beside, hpos) = if near_end { (-8, HPos::Right) } else { (8, HPos::Left) };
    let style = text(14).color(&PROMISE).pos(Pos::new(hpos, pos));
    // Something pale behind the words: curves may run there.
    let width = deadline.text.chars().count() as i32 * LETTER as i32;
    let (from, to) = if near_end { (beside - width, beside) } else { (beside, beside + width) };
    let behind = match pos {
        VPos::Bottom => (-20, -2),
        VPos::Top => (2, 20),
        VPos::Center => (-9, 9),
    };
    let pale = Rectangle::new([(from, behind.0), (to, behind.1)], WHITE.mix(0.75).filled());
    let mark = EmptyElement::at(at)
        + pale
        + PathElement::new([(0, -8), (0, 8)], PROMISE.stroke_width(3))
        + Text::new(deadline.text.clone(), (beside, above), style);
    chart.draw_series([mark])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::report::tests::report;
    use crate::report::{Outcome, Report, Run, Variant};
    use crate::scenario::Hold;

    fn scenario(reports: Vec<Result<Report, String>>) -> ScenarioOutcome {
        let hold: Hold = toml::from_str("p50 = 1.2\nlast = 1.6").unwrap();
        let outcomes = reports.into_iter().enumerate().map(|(number, result)| {
            let (label, wall) = (format!("crowd-{number}"), Duration::ZERO);
            Outcome::new(Run { label, seed: 0, variant: Variant::Whole, result, wall }, Vec::new(), &hold)
        });
        let outcomes = outcomes.collect();
        ScenarioOutcome { name: "crowd".to_owned(), about: String::new(), path: None, hold, outcomes }
    }

    #[test]
    fn runs_of_all_lengths_and_sizes_are_drawn() {
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
            let svg = plot(&scenario(runs)).unwrap();
            assert!(svg.contains("T_min") && svg.contains("p50 ≤ 1.2") && !svg.contains("NaN"), "{svg}");
            assert!(svg.len() < 200_000, "{} bytes", svg.len());
        }
    }

    #[test]
    fn the_picture_shows_when_clients_finished() {
        let curves = Curve::all(&scenario(vec![Ok(report())]));
        let points = curves[0].finished(2.0);
        // Half of the clients at 1.1 x T_min, nearly all at 1.3, the last at 1.5.
        for point in [(0.0, 0.0), (1.1, 0.5), (1.3, 0.99), (1.5, 1.0), (2.0, 1.0)] {
            assert!(points.contains(&point), "{point:?} is not in {points:?}");
        }
        let frame = Frame::of_finish(&curves, &[]);
        assert!(frame.x.start > 1.0 && frame.x.start < 1.1 && frame.x.end > 1.5 && frame.x.end < 1.6, "{:?}", frame.x);
        assert!(Frame::of_all(&curves, &[]).x.start == 0.0);
    }
}
