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

/// A kind of picture of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Picture {
    Completion,
    Throughput,
    Sources,
    Duplicates,
    Usage,
}

impl Picture {
    /// All pictures, in the order in which they are shown.
    pub(super) const ALL: [Self; 5] =
        [Self::Completion, Self::Throughput, Self::Sources, Self::Duplicates, Self::Usage];

    /// Returns the name of the picture, with which its file name begins.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Completion => "completion",
            Self::Throughput => "throughput",
            Self::Sources => "sources",
            Self::Duplicates => "duplicates",
            Self::Usage => "usage",
        }
    }

    /// Returns the caption of the picture.
    pub(super) fn caption(self) -> &'static str {
        match self {
            Self::Completion => "clients that have finished, over time",
            Self::Throughput => "verified bytes per second, all clients together",
            Self::Sources => "verified bytes of each client, by source",
            Self::Duplicates => "bytes received twice by each client",
            Self::Usage => "processor time and memory of each container",
        }
    }

    /// Draws the picture of a run as SVG.
    pub(super) fn draw(self, record: &Record, run: &Run) -> String {
        let (rows, legend) = self.content(run);
        // The testnet writes only labels that begin with the scenario's name, but a report that was edited by hand may
        // have other labels.
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
    fn every_run_is_drawn_with_its_name_caption_and_verdict() {
        const HELD: &[&str] = &["all promises held"];
        for (record, words) in [
            (example::empty(), HELD),
            (example::crowd(), &["1 seed (100 Mbit/s up)", "all promises held"]),
            (example::one(), HELD),
            (example::failed(), &["FAILED: client 1 did not finish (and 1 more)"]),
            (example::of_clients(64, None), HELD),
            (example::of_clients(200, Some(1.5)), HELD),
            (example::absurd(), HELD),
        ] {
            for (picture, svg) in all_of(&record) {
                let (name, length) = (record.scenario.as_str(), svg.len());
                for part in [name, picture.caption()].iter().chain(words) {
                    assert!(svg.contains(part), "{part:?} is not in {picture:?}");
                }
                assert!(
                    !svg.contains("NaN") && !svg.contains("inf"),
                    "{picture:?} of {name} has numbers that are not finite"
                );
                assert!(svg.ends_with("</svg>\n"), "{picture:?} of {name} is incomplete");
                assert!(length < 1_500_000, "{picture:?} of {name} has {length} bytes");
            }
        }
    }

    #[test]
    fn markup_in_names_is_escaped_in_pictures() {
        for (picture, svg) in all_of(&example::hostile_names()) {
            assert!(!svg.contains("<script") && !svg.contains("<img") && !svg.contains('\u{1b}'), "{picture:?}: {svg}");
            assert!(svg.contains("&lt;script&gt;"), "{picture:?}");
        }
    }
}
