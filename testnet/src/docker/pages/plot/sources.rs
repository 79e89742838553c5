//! Who sent each client what it verified.

use std::collections::BTreeMap;

use plotters::prelude::*;

use super::bars::{self, Bar, grouped, groups};
use super::frame::from_start;
use super::{Picture, WIDTH};
use crate::docker::pages::units::{byte_unit, bytes, clipped, percent, ratio, seconds};
use crate::docker::record::{ClientRecord, Record, Run};
use crate::draw::{COLOURS, Drawn, INK, Kind, Legend, PROMISE};

/// The colours of seeds: one each, as far as they go. Beside clients and hostile nodes, which have other colours.
const SEEDS: [RGBColor; 8] = [
    COLOURS[0],
    COLOURS[4],
    COLOURS[2],
    COLOURS[3],
    COLOURS[5],
    COLOURS[1],
    RGBColor(0xf0, 0xe4, 0x42),
    RGBColor(0x6a, 0x4c, 0x93),
];
const CLIENTS: RGBColor = RGBColor(0xa8, 0xae, 0xb4);
const OTHERS: RGBColor = RGBColor(0x40, 0x40, 0x40);
const MAX_LETTERS: usize = 40;

/// Which sources are told apart.
struct Kinds {
    /// Seeds with a colour of their own.
    seeds: Vec<String>,
}

/// In the order in which they are in a bar.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Seed(usize),
    FurtherSeed,
    Client,
    Hostile,
    Other,
}

/// Draws a bar for each client.
pub(super) fn draw(record: &Record, run: &Run) -> Drawn<String> {
    let clients = &run.phase.clients;
    let kinds = Kinds::of(clients);
    let size = run.setup.size() as f64;
    let groups = groups(clients);
    let sums: Vec<_> = groups.iter().map(|(_, group)| kinds.sums(group)).collect();
    let most = sums.iter().zip(&groups).map(|(sums, (_, group))| sums.values().sum::<f64>() / group.len() as f64);
    let most = most.fold(size, f64::max);
    let (unit, name) = byte_unit(most);
    let bars: Vec<_> = groups
        .iter()
        .zip(&sums)
        .map(|((name, group), sums)| {
            let each = |bytes: &f64| bytes / unit / group.len() as f64;
            let parts = sums.iter().map(|(source, bytes)| (each(bytes), source.colour())).collect();
            Bar { name: name.clone(), parts, note: note(group) }
        })
        .collect();
    let legend = Legend::new(kinds.entries(clients), WIDTH);
    let x_name = format!("fetched and verified ({name}){}; dashed: everything", grouped(clients));
    Picture::Sources.sheet((record, run), bars::height(bars.len()), &legend, |area| {
        bars::draw(area, &bars, from_start(most / unit), &x_name, Some(size / unit))?;
        if sums.iter().all(BTreeMap::is_empty) {
            bars::say(area, "no client fetched anything")?;
        }
        Ok(())
    })
}

fn note(group: &[ClientRecord]) -> String {
    let last = group.iter().map(ClientRecord::seconds).collect::<Option<Vec<_>>>();
    match last.and_then(|times| times.into_iter().max_by(f64::total_cmp)) {
        Some(last) if group.len() == 1 => seconds(last),
        Some(last) => format!("all in {}", seconds(last)),
        None => "not finished".to_owned(),
    }
}

impl Kinds {
    fn of(clients: &[ClientRecord]) -> Self {
        let mut seeds: Vec<&String> = Vec::new();
        for name in clients.iter().flat_map(|client| client.by_source.keys()).filter(|name| name.starts_with("seed")) {
            if !seeds.contains(&name) {
                seeds.push(name);
            }
        }
        // `seed 10` after `seed 9`.
        seeds.sort_by_key(|name| (name.len(), *name));
        Self { seeds: seeds.into_iter().take(SEEDS.len()).cloned().collect() }
    }

    fn source(&self, name: &str) -> Source {
        match self.seeds.iter().position(|seed| seed == name) {
            Some(number) => Source::Seed(number),
            None if name.starts_with("seed") => Source::FurtherSeed,
            None if name.starts_with("client") => Source::Client,
            None if name.starts_with("hostile") => Source::Hostile,
            None => Source::Other,
        }
    }

    /// What clients got from each kind of source, all together.
    fn sums(&self, clients: &[ClientRecord]) -> BTreeMap<Source, f64> {
        let mut sums = BTreeMap::new();
        for (name, bytes) in clients.iter().flat_map(|client| &client.by_source) {
            *sums.entry(self.source(name)).or_insert(0.0) += *bytes as f64;
        }
        sums
    }

    fn entries(&self, clients: &[ClientRecord]) -> Vec<(Kind, String)> {
        let sums = self.sums(clients);
        let all: f64 = sums.values().sum();
        let mut entries: Vec<_> = sums
            .iter()
            .map(|(source, sum)| {
                let name = match source {
                    Source::Seed(number) => clipped(&self.seeds[*number], MAX_LETTERS),
                    Source::FurtherSeed => "further seeds".to_owned(),
                    Source::Client => "other clients".to_owned(),
                    Source::Hostile => "hostile nodes".to_owned(),
                    Source::Other => "others".to_owned(),
                };
                let part = ratio(*sum, all).map_or(String::new(), |part| format!(", {}", percent(part)));
                (Kind::Box(source.colour()), format!("{name}: {}{part}", bytes(*sum)))
            })
            .collect();
        if entries.is_empty() {
            entries.push((Kind::Box(CLIENTS), "nothing was fetched".to_owned()));
        }
        entries
    }
}

impl Source {
    fn colour(self) -> RGBColor {
        match self {
            Self::Seed(number) => SEEDS[number],
            Self::FurtherSeed => INK,
            Self::Client => CLIENTS,
            Self::Hostile => PROMISE,
            Self::Other => OTHERS,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::pages::example;

    #[test]
    fn each_source_has_its_colour_and_its_sum() {
        let record = example::one();
        let run = &record.runs[0];
        let svg = draw(&record, run).unwrap();
        for seed in ["seed 0: ", "seed 1: ", "seed 2: "] {
            assert!(svg.contains(seed), "{seed:?} is missing");
        }
        for colour in ["#0072B2", "#E69F00", "#009E73"] {
            let boxes = svg.matches(&format!("fill=\"{colour}\"")).count();
            assert_eq!(boxes, 2, "{colour} in the bar and in the legend");
        }
        let kinds = Kinds::of(&run.phase.clients);
        let sum: f64 = kinds.sums(&run.phase.clients).values().sum();
        assert_eq!(sum, run.setup.size() as f64);
        let hostile = example::trouble();
        assert!(draw(&hostile, &hostile.runs[0]).unwrap().contains("hostile nodes: "));
    }

    #[test]
    fn seeds_without_a_colour_of_their_own_are_counted_together() {
        let by_source = (0..12).map(|seed| (format!("seed {seed}"), 1 << 20)).collect();
        let client = ClientRecord { by_source, ..ClientRecord::default() };
        let kinds = Kinds::of(std::slice::from_ref(&client));
        assert_eq!(kinds.seeds.last().unwrap(), "seed 7");
        assert_eq!(kinds.sums(&[client])[&Source::FurtherSeed], 4.0 * 1048576.0);
    }
}
