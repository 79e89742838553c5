//! Which share of the clients had everything when.

use plotters::prelude::*;

use super::frame::{Axes, Times, dashed, line};
use super::marks::Marks;
use super::series::{self, MAX_LINES, budget, completion, thinned};
use super::{Picture, WIDTH};
use crate::docker::record::{Outcome, Prediction, Record, Run};
use crate::draw::{Area, COLOURS, Chart, Drawn, Kind, Legend};

const HEIGHT: u32 = 520;
const PHASE: RGBColor = COLOURS[0];
const HTTP: RGBColor = COLOURS[1];
const SIMULATED: RGBColor = COLOURS[2];
const TIME: &str = "time since clients were let go (s)";
const SHARE: &str = "part of the clients, or of what one fetches (%)";
/// So many lines can each be told from the others.
const FEW: usize = 4;
/// In percent, with room for the line at 100.
const ALL: f64 = 104.0;

/// Draws it, and behind it what each client had.
pub(super) fn draw(record: &Record, run: &Run) -> Drawn<String> {
    let times = Times::of(run);
    let legend = Legend::new(entries(run), WIDTH);
    Picture::Completion.sheet((record, run), HEIGHT, &legend, |area| {
        let (left, right) = times.split(area);
        let caption = if right.is_some() { "while Phase distributed" } else { "" };
        let axes = Axes { caption, x: times.phase.clone(), x_name: TIME, y: 0.0..ALL, y_name: SHARE };
        let mut chart = axes.draw(&left, &Marks::of(run))?;
        draw_progress(&mut chart, &run.phase, run.setup.size())?;
        draw_curves(&mut chart, run)?;
        if let Some(prediction) = &run.simulated {
            draw_prediction(&mut chart, prediction)?;
        }
        if let (Some(area), Some(x)) = (right, times.http.clone()) {
            draw_with_http(&area, run, x)?;
        }
        Ok(())
    })
}

fn entries(run: &Run) -> Vec<(Kind, String)> {
    let clients = run.phase.waited_for().count();
    let mut texts =
        vec![(Kind::Line(PHASE, 3), format!("Phase: part of the clients that have everything (of {clients})"))];
    if run.http.is_some() {
        texts.push((Kind::Dashed(HTTP, 3), "HTTP from one server: the same".to_owned()));
    }
    if run.simulated.is_some() {
        texts.push((Kind::Circle(SIMULATED), "simulator: p50, p99, last".to_owned()));
    }
    let all = run.phase.clients.len();
    let shown = if all > MAX_LINES { format!("{MAX_LINES} of {all} clients") } else { "each client".to_owned() };
    texts.push((Kind::Line(pale(), 1), format!("part of its bytes that {shown} had verified")));
    texts.extend(Marks::of(run).legend());
    texts
}

/// The right chart: all of the time.
fn draw_with_http(area: &Area<'_>, run: &Run, x: std::ops::Range<f64>) -> Drawn {
    let axes = Axes { caption: "until HTTP was done", x, x_name: TIME, y: 0.0..ALL, y_name: "part of the clients (%)" };
    let mut chart = axes.draw(area, &Marks::none())?;
    draw_curves(&mut chart, run)
}

fn draw_curves(chart: &mut Chart<'_>, run: &Run) -> Drawn {
    let end = chart.x_range().end;
    let percent = |outcome: &Outcome| -> Vec<_> {
        completion(outcome, end).into_iter().map(|(at, part)| (at, part * 100.0)).collect()
    };
    if let Some(http) = &run.http {
        dashed(chart, &percent(http), (9, 6), HTTP.stroke_width(3))?;
    }
    line(chart, &percent(&run.phase), PHASE.stroke_width(3))
}

fn draw_progress(chart: &mut Chart<'_>, outcome: &Outcome, size: u64) -> Drawn {
    let chosen = thinned(&outcome.clients.iter().collect::<Vec<_>>(), MAX_LINES);
    let most = budget(chosen.len());
    // A few lines are no crowd behind the curve: they are to be seen.
    let width = if chosen.len() <= FEW { 2 } else { 1 };
    for client in chosen {
        let verified = thinned(&series::verified(client, size), most);
        let part = |bytes: f64| if size == 0 { 0.0 } else { bytes / size as f64 * 100.0 };
        let points: Vec<_> = verified.into_iter().map(|(at, bytes)| (at, part(bytes))).collect();
        line(chart, &points, pale().stroke_width(width))?;
    }
    Ok(())
}

fn draw_prediction(chart: &mut Chart<'_>, prediction: &Prediction) -> Drawn {
    let x = chart.x_range();
    let marks = [(prediction.p50, 50.0), (prediction.p99, 99.0), (prediction.last, 100.0)];
    for at in marks.into_iter().filter(|(time, _)| x.contains(time)) {
        chart.draw_series([Circle::new(at, 5, SIMULATED.stroke_width(2))])?;
    }
    Ok(())
}

/// Many lines together, behind what matters.
fn pale() -> RGBColor {
    RGBColor(0x9c, 0xbc, 0xd6)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::pages::example;

    fn drawn(record: &Record) -> String {
        draw(record, &record.runs[0]).unwrap()
    }

    #[test]
    fn bound_http_prediction_and_events_are_there_if_they_were_measured() {
        let all = drawn(&example::crowd());
        for part in ["T_min 13.01 s", "HTTP from one server", "simulator: p50", "until HTTP was done", TIME, SHARE] {
            assert!(all.contains(part), "{part:?} is missing");
        }
        // Each curve is in both charts and in the legend; one with dashes has many pieces.
        assert_eq!(all.matches("stroke=\"#0072B2\"").count(), 3);
        assert!(all.matches("stroke=\"#D55E00\"").count() > 100);
        assert_eq!(all.matches("<circle").count(), 4, "three figures, and one in the legend");
        let one = drawn(&example::one());
        assert!(one.contains("seed 1: killed") && one.contains("seed 1: started again"));
        for part in ["HTTP from", "simulator", "until HTTP"] {
            assert!(!one.contains(part), "{part:?} was not measured");
        }
    }

    #[test]
    fn many_clients_are_drawn_as_some_of_them() {
        let many = drawn(&example::of_clients(200, None));
        assert!(many.contains("64 of 200 clients"));
        let lines = many.matches("stroke=\"#9CBCD6\"").count();
        assert_eq!(lines, MAX_LINES + 1, "one of them in the legend");
        assert!(drawn(&example::of_clients(64, None)).contains("part of its bytes that each client had"));
    }
}
