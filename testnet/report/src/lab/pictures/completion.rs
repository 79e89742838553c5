//! Draws the part of the clients that had finished, over time. Thin lines behind this curve show the progress of each
//! client.

use std::ops::Range;

use super::timeline::{beside_http, chart, legend_of_marks};
use crate::chart::{Axis, COLOURS, Chart, Colour, Item, Key, Legend, Row, Stroke};
use crate::lab::record::{Outcome, Run};
use crate::lab::series::{completion, verified};
use crate::points::{MAX_LINES, budget, thinned};

const HEIGHT: f64 = 520.0;
const PHASE: Stroke = Stroke::solid(COLOURS[0], 3);
const HTTP: Stroke = Stroke::dashed(COLOURS[1], 3);
const SIMULATED: Colour = COLOURS[2];
/// The colour of the lines that show the progress of each client.
const CLIENT: Colour = Colour(0x9cbcd6);
/// If a chart shows at most this number of clients, their lines are drawn wider.
const FEW: usize = 4;

pub(super) fn of(run: &Run) -> (Vec<Row>, Legend) {
    (vec![beside_http(run, HEIGHT, |caption, x, is_whole| of_time(run, caption, x, is_whole))], legend(run))
}

fn of_time(run: &Run, caption: &str, x: Range<f64>, is_whole: bool) -> Chart {
    let name = if is_whole { "part of the clients, or of a client's bytes (%)" } else { "part of the clients (%)" };
    let y = Axis { name: name.to_owned(), range: 0.0..104.0 };
    let curve = |outcome: &Outcome, stroke| {
        let points = completion(outcome, x.end).into_iter().map(|(at, part)| (at, part * 100.0));
        Item::Line(points.collect(), stroke)
    };
    let mut items = if is_whole { progress(run) } else { Vec::new() };
    items.extend(run.http.as_ref().map(|http| curve(http, HTTP)));
    items.push(curve(&run.phase, PHASE));
    if let (true, Some(predicted)) = (is_whole, run.simulated) {
        let points = [(predicted.p50, 50.0), (predicted.p99, 99.0), (predicted.last, 100.0)];
        items.extend(points.into_iter().filter(|(at, _)| x.contains(at)).map(|point| Item::Circle(point, SIMULATED)));
    }
    Chart { items, ..chart(caption, x, y) }
}

fn progress(run: &Run) -> Vec<Item> {
    let size = run.setup.size();
    let chosen = thinned(&run.phase.clients.iter().collect::<Vec<_>>(), MAX_LINES);
    let stroke = Stroke::solid(CLIENT, if chosen.len() <= FEW { 2 } else { 1 });
    let percent = |bytes: f64| if size == 0 { 0.0 } else { bytes / size as f64 * 100.0 };
    let line = |client| {
        let points = thinned(&verified(client, size), budget(chosen.len()));
        Item::Line(points.into_iter().map(|(at, bytes)| (at, percent(bytes))).collect(), stroke)
    };
    chosen.iter().map(|client| line(client)).collect()
}

fn legend(run: &Run) -> Legend {
    let (clients, all) = (run.phase.clients_that_must_finish().count(), run.phase.clients.len());
    let mut legend = vec![(Key::Line(PHASE), format!("Phase: clients that have finished (of {clients})"))];
    let http = "HTTP from one server: clients that have finished";
    legend.extend(run.http.as_ref().map(|_| (Key::Line(HTTP), http.to_owned())));
    legend.extend(run.simulated.map(|_| (Key::Circle(SIMULATED), "simulator: p50, p99, last".to_owned())));
    let shown = if all > MAX_LINES { format!("{MAX_LINES} of {all} clients") } else { "each client".to_owned() };
    legend
        .push((Key::Line(Stroke::solid(CLIENT, 1)), format!("part of its bytes that a client has verified: {shown}")));
    legend.extend(legend_of_marks(run));
    legend
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::example;

    fn items(run: &Run) -> Vec<usize> {
        of(run).0[0].charts.iter().map(|(_, chart)| chart.items.len()).collect()
    }

    /// Returns the end of the time axis of each chart.
    fn ends(run: &Run) -> Vec<f64> {
        of(run).0[0].charts.iter().map(|(_, chart)| chart.x.range.end).collect()
    }

    fn texts(run: &Run) -> String {
        of(run).1.into_iter().map(|(_, text)| text).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn http_prediction_and_events_are_drawn_if_the_run_has_them() {
        let run = &example::crowd().runs[0];
        // The left chart has the lines of 32 clients, the curves of Phase and HTTP, and three circles for the
        // prediction. The right chart has only the two curves.
        assert_eq!(items(run), [32 + 2 + 3, 2]);
        for part in ["(of 32)", "HTTP from one server", "simulator: p50", "T_min"] {
            assert!(texts(run).contains(part), "{part:?} is missing");
        }
        let run = &example::one().runs[0];
        assert_eq!(items(run), [1 + 1]);
        let marks: Vec<_> = of(run).0[0].charts[0].1.marks.iter().map(|mark| mark.words.clone()).collect();
        assert_eq!(marks[..2], ["T_min 6.71 s", "seed 1: killed"]);
        assert!(texts(run).contains("event of a node"));
    }

    #[test]
    fn a_second_chart_is_drawn_only_if_http_took_far_longer() {
        let mut run = example::crowd().runs.remove(0);
        assert!(matches!(ends(&run)[..], [phase, http] if phase < 20.0 && http > 430.0));
        for client in &mut run.http.as_mut().unwrap().clients {
            client.finished = Some(20.0);
        }
        assert!(matches!(ends(&run)[..], [both] if both > 20.0));
    }

    #[test]
    fn only_some_of_many_clients_are_drawn() {
        let many = &example::of_clients(200, None).runs[0];
        assert_eq!(items(many), [MAX_LINES + 1]);
        assert!(texts(many).contains("64 of 200 clients"));
        assert!(texts(&example::of_clients(64, None).runs[0]).contains("has verified: each client"));
    }
}
