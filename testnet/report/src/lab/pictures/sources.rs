//! Draws the verified bytes of each client, by the node that sent them.

use std::collections::BTreeMap;

use phase_units::{byte_unit, bytes, percent, ratio, seconds};

use super::bars::{Bar, grouped, groups, row};
use crate::chart::{Axis, COLOURS, Colour, INK, Item, Key, Legend, PROMISE, Row, from_zero};
use crate::escape::clipped;
use crate::lab::record::{ClientRecord, Run};

/// The colours of the first eight seeds. Further seeds, clients and hostile nodes have other colours.
const SEEDS: [Colour; 8] =
    [COLOURS[0], COLOURS[4], COLOURS[2], COLOURS[3], COLOURS[5], COLOURS[1], Colour(0xf0e442), Colour(0x6a4c93)];
const CLIENTS: Colour = Colour(0xa8aeb4);
const OTHERS: Colour = Colour(0x404040);
const MAX_LETTERS: usize = 40;

/// The sender of verified bytes: a certain seed, or a kind of node. The parts of a bar are drawn in the order of these
/// variants.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Seed(usize),
    FurtherSeed,
    Client,
    Hostile,
    Other,
}

pub(super) fn of(run: &Run) -> (Vec<Row>, Legend) {
    let (clients, size) = (&run.phase.clients, run.setup.size() as f64);
    let seeds = seeds(clients);
    let means = groups(clients).into_iter().map(|(name, group)| {
        let sums = sums(&seeds, group).into_iter();
        let parts = sums.map(|(source, bytes)| (bytes / group.len() as f64, source.colour()));
        Bar { name, parts: parts.collect(), note: note(group) }
    });
    let mut bars: Vec<_> = means.collect();
    let length = |bar: &Bar| bar.parts.iter().map(|(bytes, _)| bytes).sum::<f64>();
    let most = bars.iter().map(length).fold(size, f64::max);
    let nothing = bars.iter().all(|bar| bar.parts.is_empty());
    let (unit_name, unit) = byte_unit(most);
    bars.iter_mut().flat_map(|bar| &mut bar.parts).for_each(|(bytes, _)| *bytes /= unit);
    let name = format!("fetched and verified ({unit_name}){}; dashed line: all artifacts", grouped(clients));
    let words = nothing.then(|| Item::Words("no client fetched anything".to_owned()));
    let others = words.into_iter().chain([Item::Limit(size / unit)]);
    (vec![row(bars, Axis { name, range: from_zero(most / unit) }, others)], legend(&seeds, clients))
}

/// Describes the duration of a client's fetch, or the longest duration in a group of clients.
fn note(group: &[ClientRecord]) -> String {
    let last = group.iter().map(ClientRecord::seconds).collect::<Option<Vec<_>>>();
    match last.and_then(|times| times.into_iter().max_by(f64::total_cmp)) {
        Some(last) if group.len() == 1 => seconds(last),
        Some(last) => format!("all after {}", seconds(last)),
        None => "not finished".to_owned(),
    }
}

/// Returns the names of the seeds that have their own colour.
fn seeds(clients: &[ClientRecord]) -> Vec<&str> {
    let names = clients.iter().flat_map(|client| client.by_source.keys()).map(String::as_str);
    let mut seeds: Vec<_> = names.filter(|name| name.starts_with("seed")).collect();
    // Sort shorter names first, so that `seed 10` comes after `seed 9`.
    seeds.sort_by_key(|name| (name.len(), *name));
    seeds.dedup();
    seeds.truncate(SEEDS.len());
    seeds
}

/// Returns, for each source, the total number of bytes that the clients fetched from it. `seeds` are the seeds that
/// have their own colour.
fn sums(seeds: &[&str], clients: &[ClientRecord]) -> BTreeMap<Source, f64> {
    let source = |name: &str| match seeds.iter().position(|seed| *seed == name) {
        Some(number) => Source::Seed(number),
        None if name.starts_with("seed") => Source::FurtherSeed,
        None if name.starts_with("client") => Source::Client,
        None if name.starts_with("hostile") => Source::Hostile,
        None => Source::Other,
    };
    let mut sums = BTreeMap::new();
    for (name, bytes) in clients.iter().flat_map(|client| &client.by_source) {
        *sums.entry(source(name)).or_insert(0.0) += *bytes as f64;
    }
    sums
}

fn legend(seeds: &[&str], clients: &[ClientRecord]) -> Legend {
    let sums = sums(seeds, clients);
    if sums.is_empty() {
        return vec![(Key::Box(CLIENTS), "nothing was fetched".to_owned())];
    }
    let all: f64 = sums.values().sum();
    let entry = |(source, sum): (&Source, &f64)| {
        let name = match source {
            Source::Seed(number) => clipped(seeds[*number], MAX_LETTERS),
            Source::FurtherSeed => "further seeds".to_owned(),
            Source::Client => "other clients".to_owned(),
            Source::Hostile => "hostile nodes".to_owned(),
            Source::Other => "other nodes".to_owned(),
        };
        let part = ratio(*sum, all).map_or(String::new(), |part| format!(", {}", percent(part)));
        (Key::Box(source.colour()), format!("{name}: {}{part}", bytes(*sum)))
    };
    sums.iter().map(entry).collect()
}

impl Source {
    fn colour(self) -> Colour {
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
    use crate::lab::example;

    #[test]
    fn each_source_has_its_colour_and_its_sum() {
        let run = &example::one().runs[0];
        let (rows, legend) = of(run);
        for (number, (key, text)) in legend.iter().enumerate() {
            assert!(text.starts_with(&format!("seed {number}: ")), "{text}");
            let Key::Box(colour) = key else { panic!("{text} has no box") };
            let spans =
                rows[0].charts[0].1.items.iter().filter(|item| matches!(item, Item::Span(.., c) if c == colour));
            assert_eq!((*colour, spans.count()), (SEEDS[number], 1));
        }
        let sums = sums(&seeds(&run.phase.clients), &run.phase.clients);
        assert_eq!((legend.len(), sums.values().sum::<f64>()), (3, run.setup.size() as f64));
        let (_, hostile) = of(&example::failed().runs[0]);
        assert!(hostile.iter().any(|(_, text)| text.starts_with("hostile nodes: ")));
    }

    #[test]
    fn seeds_without_their_own_colour_are_summed() {
        let by_source = (0..12).map(|seed| (format!("seed {seed}"), 1 << 20)).collect();
        let clients = [ClientRecord { by_source, ..ClientRecord::default() }];
        let seeds = seeds(&clients);
        assert_eq!(seeds.last(), Some(&"seed 7"));
        assert_eq!(sums(&seeds, &clients)[&Source::FurtherSeed], 4.0 * 1048576.0);
    }
}
