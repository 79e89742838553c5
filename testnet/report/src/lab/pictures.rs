//! The pictures of a run.

mod bars;
mod completion;
mod duplicates;
mod sources;
mod throughput;
mod timeline;
mod usage;

use super::figures::setup;
use super::record::{Record, Run};
use crate::chart::{INK, Legend, PROMISE, Row, Sheet};
use crate::escape::clipped;
use crate::svg;

/// What is drawn of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Picture {
    Completion,
    Throughput,
    Sources,
    Duplicates,
    Usage,
}

impl Picture {
    /// All, in the order in which they are shown.
    pub(super) const ALL: [Self; 5] =
        [Self::Completion, Self::Throughput, Self::Sources, Self::Duplicates, Self::Usage];

    /// The first part of the file name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::Throughput => "throughput",
            Self::Sources => "sources",
            Self::Duplicates => "duplicates",
            Self::Usage => "usage",
        }
    }

    /// What it shows.
    pub(super) fn caption(self) -> &'static str {
        match self {
            Self::Completion => "clients that have everything, over time",
            Self::Throughput => "what all clients together verified per second",
            Self::Sources => "who sent each client what it verified",
            Self::Duplicates => "bytes that came twice",
            Self::Usage => "processor time and memory of each container",
        }
    }

    /// The picture of a run as SVG.
    pub(super) fn draw(self, record: &Record, run: &Run) -> String {
        let (rows, legend) = self.content(run);
        // The label begins with the scenario's name, unless a person wrote the file.
        let name = match run.label.starts_with(&record.scenario) {
            true => run.label.clone(),
            false => format!("{}, {}", record.scenario, run.label),
        };
        let verdict = match run.broken.as_slice() {
            [] => ("all promises held".to_owned(), INK),
            [one] => (format!("FAILED: {one}"), PROMISE),
            [first, more @ ..] => (format!("FAILED: {first} (and {} more)", more.len()), PROMISE),
        };
        let headline = format!("{}: {}", clipped(&name, 60), self.caption());
        svg::draw(&Sheet { title: vec![(headline, INK), (setup(&run.setup), INK), verdict], rows, legend })
    }

    fn content(self, run: &Run) -> (Vec<Row>, Legend) {
        match self {
            Self::Completion => completion::of(run),
            Self::Throughput => throughput::of(run),
            Self::Sources => sources::of(run),
            Self::Duplicates => duplicates::of(run),
            Self::Usage => usage::of(run),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn all_of(record: &Record) -> Vec<(Picture, String)> {
        let runs = record.runs.iter();
        runs.flat_map(|run| Picture::ALL.map(|picture| (picture, picture.draw(record, run)))).collect()
    }

    #[test]
    fn whatever_was_measured_is_drawn_and_says_of_which_run_it_is() {
        const HELD: &[&str] = &["all promises held"];
        for (record, words) in [
            (example::empty(), HELD),
            (example::crowd(), &["1 seed (100 Mbit/s up)", "all promises held"]),
            (example::one(), HELD),
            (example::trouble(), &["FAILED: client 1 did not finish (and 1 more)"]),
            (example::of_clients(64, None), HELD),
            (example::of_clients(200, Some(1.5)), HELD),
            (example::absurd(), HELD),
        ] {
            for (picture, svg) in all_of(&record) {
                let (name, length) = (record.scenario.as_str(), svg.len());
                for part in [name, picture.caption()].iter().chain(words) {
                    assert!(svg.contains(part), "{part:?} is not in {picture:?}");
                }
                assert!(!svg.contains("NaN") && !svg.contains("inf"), "{picture:?} of {name} has no numbers");
                assert!(svg.ends_with("</svg>\n"), "{picture:?} of {name} is not whole");
                assert!(length < 1_500_000, "{picture:?} of {name} has {length} bytes");
            }
        }
    }

    #[test]
    fn hostile_names_are_only_text() {
        for (picture, svg) in all_of(&example::hostile_names()) {
            assert!(!svg.contains("<script") && !svg.contains("<img") && !svg.contains('\u{1b}'), "{picture:?}: {svg}");
            assert!(svg.contains("&lt;script&gt;"), "{picture:?}");
        }
    }
}
