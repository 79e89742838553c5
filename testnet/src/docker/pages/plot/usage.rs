//! What containers used of the machine.

use std::ops::Range;

use plotters::prelude::*;

use super::frame::{Axes, from_start, line};
use super::marks::Marks;
use super::series::{MAX_LINES, Point, budget, memory, processor, thinned};
use super::{Picture, WIDTH};
use crate::docker::pages::units::bytes;
use crate::docker::record::{NodeRecord, Outcome, Record, Run};
use crate::draw::{Area, COLOURS, Drawn, Kind, Legend, PROMISE};

const HEIGHT: u32 = 400;
const TIME: &str = "time since clients were let go (s)";
const MIB: f64 = 1048576.0;

/// What a container is for. Those with few containers are drawn last, over the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    Client,
    Other,
    Hostile,
    Bootstrap,
    HttpServer,
    Seed,
}

/// Draws it: to the left processor time, to the right memory; below the same of HTTP, if that was measured.
pub(super) fn draw(record: &Record, run: &Run) -> Drawn<String> {
    let measured = |outcome: &&Outcome| outcome.nodes.iter().any(|node| !node.samples.is_empty());
    let http = run.http.as_ref().filter(measured);
    let rows = if http.is_some() { 2 } else { 1 };
    let legend = Legend::new(entries(&run.phase, http), WIDTH);
    Picture::Usage.sheet((record, run), rows * HEIGHT, &legend, |area| {
        let (above, below) = area.split_vertically(HEIGHT);
        let name = if http.is_some() { "Phase: " } else { "" };
        draw_row(&above, &run.phase, name, &Marks::of(run))?;
        match http {
            Some(http) => draw_row(&below, http, "HTTP: ", &Marks::none()),
            None => Ok(()),
        }
    })
}

fn draw_row(area: &Area<'_>, outcome: &Outcome, name: &str, marks: &Marks) -> Drawn {
    let (left, right) = area.split_horizontally(WIDTH / 2);
    let nodes = chosen(outcome);
    let most = budget(nodes.len());
    let x = from_start(last_sample(outcome));
    let lines = |points: &dyn Fn(&NodeRecord) -> Vec<Point>| -> Vec<_> {
        nodes.iter().map(|(role, node)| (role.line(), points(node))).collect()
    };
    let used = lines(&|node| processor(node, most));
    let held = lines(&|node| memory(node, most).into_iter().map(|(at, bytes)| (at, bytes / MIB)).collect());
    let chart = |area, what: &str, y_name, lines: &[(ShapeStyle, Vec<Point>)]| {
        let axes = Axes { caption: &format!("{name}{what}"), x: x.clone(), x_name: TIME, y: range(lines), y_name };
        draw_lines(area, &axes, marks, lines)
    };
    chart(&left, "processor time", "of one core (%)", &used)?;
    chart(&right, "resident memory", "memory (MiB)", &held)
}

fn draw_lines(area: &Area<'_>, axes: &Axes<'_>, marks: &Marks, lines: &[(ShapeStyle, Vec<Point>)]) -> Drawn {
    let mut chart = axes.draw(area, marks)?;
    for (style, points) in lines {
        line(&mut chart, points, *style)?;
    }
    Ok(())
}

fn range(lines: &[(ShapeStyle, Vec<Point>)]) -> Range<f64> {
    from_start(lines.iter().flat_map(|(_, points)| points).map(|(_, value)| *value).fold(0.0, f64::max))
}

fn last_sample(outcome: &Outcome) -> f64 {
    let times = outcome.nodes.iter().filter_map(|node| node.samples.last()).map(|usage| usage.at);
    times.filter(|at| at.is_finite()).fold(0.0, f64::max)
}

/// The containers that are drawn: of clients only some if they are many.
fn chosen(outcome: &Outcome) -> Vec<(Role, &NodeRecord)> {
    let all: Vec<_> = outcome.nodes.iter().map(|node| (Role::of(&node.name), node)).collect();
    let mut roles: Vec<_> = all.iter().map(|(role, _)| *role).collect();
    roles.sort();
    roles.dedup();
    let of_role = |role| all.iter().filter(|(other, _)| *other == role).copied().collect::<Vec<_>>();
    roles.into_iter().flat_map(|role| thinned(&of_role(role), MAX_LINES)).collect()
}

fn entries(phase: &Outcome, http: Option<&Outcome>) -> Vec<(Kind, String)> {
    let outcomes = || std::iter::once(phase).chain(http);
    let mut roles: Vec<_> = outcomes().flat_map(|outcome| &outcome.nodes).map(|node| Role::of(&node.name)).collect();
    roles.sort();
    roles.dedup();
    let mut texts: Vec<_> = roles
        .into_iter()
        .rev()
        .map(|role| {
            let of_role = |outcome: &Outcome| -> (usize, u64) {
                let nodes = outcome.nodes.iter().filter(|node| Role::of(&node.name) == role);
                nodes.fold((0, 0), |(count, peak), node| (count + 1, peak.max(node.peak_memory())))
            };
            let (count, peak) = outcomes().map(of_role).fold((0, 0), |(a, b), (c, d)| (a.max(c), b.max(d)));
            let shown = if count > MAX_LINES { format!(", {MAX_LINES} of them drawn") } else { String::new() };
            let text = format!("{} ({count}{shown}), at most {}", role.name(), bytes(peak as f64));
            (Kind::Line(role.colour(), 2), text)
        })
        .collect();
    if texts.is_empty() {
        texts.push((Kind::Line(Role::Other.colour(), 2), "no container was measured".to_owned()));
    }
    texts
}

impl Role {
    fn of(name: &str) -> Self {
        let roles = [
            ("client", Self::Client),
            ("seed", Self::Seed),
            ("bootstrap", Self::Bootstrap),
            ("hostile", Self::Hostile),
            ("http", Self::HttpServer),
        ];
        roles.into_iter().find(|(start, _)| name.starts_with(start)).map_or(Self::Other, |(_, role)| role)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Client => "clients",
            Self::Seed => "seeds",
            Self::Bootstrap => "bootstrap",
            Self::Hostile => "hostile nodes",
            Self::HttpServer => "HTTP server",
            Self::Other => "others",
        }
    }

    /// Clients are many, and lie behind the others.
    fn line(self) -> ShapeStyle {
        if self == Self::Client { self.colour().mix(0.75).stroke_width(1) } else { self.colour().stroke_width(2) }
    }

    fn colour(self) -> RGBColor {
        match self {
            Self::Client => COLOURS[5],
            Self::Seed => COLOURS[1],
            Self::Bootstrap => COLOURS[2],
            Self::Hostile => PROMISE,
            Self::HttpServer => COLOURS[3],
            Self::Other => COLOURS[6],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::pages::example;

    #[test]
    fn every_role_is_named() {
        let record = example::crowd();
        let svg = draw(&record, &record.runs[0]).unwrap();
        for part in [
            "clients (32), at most",
            "seeds (1)",
            "bootstrap (1)",
            "HTTP server (1)",
            "of one core (%)",
            "memory (MiB)",
        ] {
            assert!(svg.contains(part), "{part:?} is missing");
        }
        // Each client in both charts, and all of them once in the legend.
        assert_eq!(svg.matches("stroke=\"#56B4E9\"").count(), 2 * 32 + 1);
        assert!(svg.contains("HTTP: processor time") && svg.contains("Phase: resident memory"));
        let one = example::one();
        assert!(!draw(&one, &one.runs[0]).unwrap().contains("HTTP"));
    }

    #[test]
    fn there_is_a_line_for_each_container_but_not_for_hundreds() {
        let lines = |clients| {
            let record = example::of_clients(clients, None);
            chosen(&record.runs[0].phase).len()
        };
        // A seed and a bootstrap node beside clients.
        assert_eq!([lines(3), lines(64), lines(200)], [5, 66, 66]);
    }
}
