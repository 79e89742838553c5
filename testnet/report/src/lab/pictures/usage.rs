//! Draws the processor time and memory of the containers.

use phase_units::bytes;

use super::timeline::{chart, marks};
use crate::chart::{Axis, COLOURS, Chart, Colour, Item, Key, Legend, Mark, PROMISE, Row, Stroke, from_zero};
use crate::lab::record::{NodeRecord, Outcome, Run};
use crate::lab::series::{memory, processor};
use crate::points::{MAX_LINES, Point, budget, thinned};

const HEIGHT: f64 = 400.0;
const MIB: f64 = 1048576.0;

/// A kind of container: the prefix of its containers' names, its name in the legend, and its colour.
struct Role(&'static str, &'static str, Colour);

/// All kinds of containers, in drawing order. Kinds with many containers come first, so that their lines do not cover
/// other lines.
const ROLES: [Role; 6] = [
    Role("client", "clients", COLOURS[5]),
    Role("", "other containers", COLOURS[6]),
    Role("hostile", "hostile nodes", PROMISE),
    Role("bootstrap", "bootstrap", COLOURS[2]),
    Role("http", "HTTP server", COLOURS[3]),
    Role("seed", "seeds", COLOURS[1]),
];

/// Returns a row with two charts: processor time and memory. If the HTTP baseline was measured, a second row has these
/// two charts for the baseline.
pub(super) fn of(run: &Run) -> (Vec<Row>, Legend) {
    let http = run.http.as_ref().filter(|http| http.nodes.iter().any(|node| !node.samples.is_empty()));
    let name = if http.is_some() { "Phase: " } else { "" };
    let mut rows = vec![row(&run.phase, name, &marks(run))];
    rows.extend(http.map(|http| row(http, "HTTP: ", &[])));
    (rows, legend(&run.phase, http))
}

fn row(outcome: &Outcome, name: &str, marks: &[Mark]) -> Row {
    let nodes = chosen(outcome);
    let most = budget(nodes.len());
    let ends = outcome.nodes.iter().filter_map(|node| node.samples.last()).map(|usage| usage.at);
    let x = from_zero(ends.filter(|at| at.is_finite()).fold(0.0, f64::max));
    let chart_of = |caption: &str, y_name: &str, points: &dyn Fn(&NodeRecord) -> Vec<Point>| {
        let lines: Vec<_> = nodes.iter().map(|(role, node)| (points(node), role.stroke())).collect();
        let highest = lines.iter().flat_map(|(points, _)| points).map(|(_, value)| *value).fold(0.0, f64::max);
        let y = Axis { name: y_name.to_owned(), range: from_zero(highest) };
        let items = lines.into_iter().map(|(points, stroke)| Item::Line(points, stroke)).collect();
        (0.5, Chart { items, marks: marks.to_vec(), ..chart(&format!("{name}{caption}"), x.clone(), y) })
    };
    let in_mib = |node: &NodeRecord| memory(node, most).into_iter().map(|(at, bytes)| (at, bytes / MIB)).collect();
    let load = chart_of("processor time", "load (% of one core)", &|node| processor(node, most));
    Row { height: HEIGHT, charts: vec![load, chart_of("resident memory", "memory (MiB)", &in_mib)] }
}

/// Returns the containers of the given kind.
fn of_role<'a>(outcome: &'a Outcome, role: &Role) -> Vec<&'a NodeRecord> {
    outcome.nodes.iter().filter(|node| Role::of(&node.name).1 == role.1).collect()
}

/// Returns the containers that are drawn, each with its kind: at most [`MAX_LINES`] containers of each kind.
fn chosen(outcome: &Outcome) -> Vec<(&'static Role, &NodeRecord)> {
    let of = |role| thinned(&of_role(outcome, role), MAX_LINES).into_iter().map(move |node| (role, node));
    ROLES.iter().flat_map(of).collect()
}

fn legend(phase: &Outcome, http: Option<&Outcome>) -> Legend {
    let entry = |role: &Role| {
        let nodes: Vec<_> = [Some(phase), http].into_iter().flatten().map(|outcome| of_role(outcome, role)).collect();
        let count = nodes.iter().map(Vec::len).max().filter(|count| *count > 0)?;
        let peak = nodes.iter().flatten().map(|node| node.peak_memory()).max().unwrap_or(0);
        let shown = if count > MAX_LINES { format!(", {MAX_LINES} of them drawn") } else { String::new() };
        let text = format!("{} ({count}{shown}), peak memory {}", role.1, bytes(peak as f64));
        Some((Key::Line(Stroke::solid(role.2, 2)), text))
    };
    let mut entries: Vec<_> = ROLES.iter().rev().filter_map(entry).collect();
    if entries.is_empty() {
        entries.push((Key::Line(Stroke::solid(COLOURS[6], 2)), "no container was measured".to_owned()));
    }
    entries
}

impl Role {
    fn of(name: &str) -> &'static Self {
        let named = ROLES.iter().find(|role| !role.0.is_empty() && name.starts_with(role.0));
        named.unwrap_or(&ROLES[1])
    }

    fn stroke(&self) -> Stroke {
        Stroke::solid(self.2, if self.0 == "client" { 1 } else { 2 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::example;

    #[test]
    fn every_role_has_a_legend_entry_and_its_charts() {
        let (rows, legend) = of(&example::crowd().runs[0]);
        let names: Vec<_> = legend.iter().map(|(_, text)| text.split(',').next().unwrap()).collect();
        assert_eq!(names, ["seeds (1)", "HTTP server (1)", "bootstrap (1)", "clients (32)"]);
        let captions: Vec<_> = rows.iter().flat_map(|row| &row.charts).map(|(_, chart)| &chart.caption).collect();
        let expected =
            ["Phase: processor time", "Phase: resident memory", "HTTP: processor time", "HTTP: resident memory"];
        assert_eq!(captions, expected);
        assert_eq!(of(&example::one().runs[0]).0.len(), 1);
    }

    #[test]
    fn at_most_64_containers_of_a_role_are_drawn() {
        // There are two more lines than clients: those of the seed and of the bootstrap node.
        let lines = |clients| chosen(&example::of_clients(clients, None).runs[0].phase).len();
        assert_eq!([lines(3), lines(64), lines(200)], [5, 66, 66]);
    }
}
