//! A run as SVG pictures.

mod bars;
mod completion;
mod duplicates;
mod frame;
mod marks;
mod series;
mod sources;
mod throughput;
mod usage;

use plotters::prelude::*;

use super::figures;
use super::units::clipped;
use crate::docker::record::{Record, Run};
use crate::draw::{Area, Drawn, INK, LETTER, Legend, PROMISE, text};

/// What is drawn of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Picture {
    /// Which share of the clients had everything when.
    Completion,
    /// What all clients together verified per second.
    Throughput,
    /// Who sent each client what.
    Sources,
    /// What clients received twice.
    Duplicates,
    /// What containers used.
    Usage,
}

const WIDTH: u32 = 1280;
const TITLE_HEIGHT: u32 = 76;
const MARGIN: i32 = 20;

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
    pub(super) fn draw(self, record: &Record, run: &Run) -> Drawn<String> {
        match self {
            Self::Completion => completion::draw(record, run),
            Self::Throughput => throughput::draw(record, run),
            Self::Sources => sources::draw(record, run),
            Self::Duplicates => duplicates::draw(record, run),
            Self::Usage => usage::draw(record, run),
        }
    }

    /// Draws a picture: the title, the charts, and what the lines mean.
    fn sheet(
        self,
        (record, run): (&Record, &Run),
        height: u32,
        legend: &Legend,
        charts: impl FnOnce(&Area<'_>) -> Drawn,
    ) -> Drawn<String> {
        let mut svg = String::new();
        {
            let size = (WIDTH, TITLE_HEIGHT + height + legend.height());
            let root = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            root.fill(&WHITE)?;
            let (title, rest) = root.split_vertically(TITLE_HEIGHT);
            self.draw_title(&title, record, run)?;
            let (middle, below) = rest.split_vertically(height);
            charts(&middle)?;
            legend.draw(&below)?;
            root.present()?;
        }
        Ok(svg)
    }

    fn draw_title(self, area: &Area<'_>, record: &Record, run: &Run) -> Drawn {
        // The label begins with the scenario's name, unless somebody wrote the file by hand.
        let name = match run.label.starts_with(&record.scenario) {
            true => run.label.clone(),
            false => format!("{}, {}", record.scenario, run.label),
        };
        let (verdict, colour) = match run.broken.as_slice() {
            [] => ("all promises held".to_owned(), INK),
            [one] => (format!("FAILED: {one}"), PROMISE),
            [first, more @ ..] => (format!("FAILED: {first} (and {} more)", more.len()), PROMISE),
        };
        let lines = [
            (format!("{}: {}", clipped(&name, 60), self.caption()), 22, 12, INK),
            (figures::setup(&run.setup), 15, 38, INK),
            (verdict, 15, 57, colour),
        ];
        for (line, size, y, colour) in lines {
            let letters = (WIDTH as i32 - 2 * MARGIN) as u32 * 14 / (LETTER * size);
            let style = text(size).color(&colour);
            area.draw(&Text::new(clipped(&line, letters as usize), (MARGIN, y), style))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn all_of(record: &Record) -> Vec<(Picture, String)> {
        let runs = record.runs.iter();
        let drawn = runs.flat_map(|run| Picture::ALL.map(|picture| (picture, picture.draw(record, run).unwrap())));
        drawn.collect()
    }

    #[test]
    fn every_picture_says_what_it_shows_of_which_run() {
        for (picture, svg) in all_of(&example::crowd()) {
            for part in ["crowd", picture.caption(), "1 seed (100 Mbit/s up)", "all promises held"] {
                assert!(svg.contains(part), "{part:?} is not in {picture:?}");
            }
        }
        for (picture, svg) in all_of(&example::trouble()) {
            assert!(svg.contains("FAILED: client 1 did not finish (and 1 more)"), "{picture:?}");
        }
    }

    #[test]
    fn whatever_was_measured_is_drawn() {
        for record in [
            example::empty(),
            example::crowd(),
            example::one(),
            example::trouble(),
            example::of_clients(64, None),
            example::of_clients(200, Some(1.5)),
            example::absurd(),
        ] {
            for (picture, svg) in all_of(&record) {
                let (name, length) = (&record.scenario, svg.len());
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
