//! Draws the bytes that each client received twice.

use phase_units::{bytes, percent, ratio};

use super::bars::{Bar, grouped, groups, row};
use crate::chart::{Axis, COLOURS, Colour, Item, Key, Legend, Row, from_zero};
use crate::lab::figures::counted;
use crate::lab::record::{ClientRecord, Run};

const COLOUR: Colour = COLOURS[1];
/// The minimum end of the horizontal axis, in percent, so that a small percentage has a short bar.
const LEAST: f64 = 1.0;

pub(super) fn of(run: &Run) -> (Vec<Row>, Legend) {
    let clients = &run.phase.clients;
    let bars: Vec<_> = groups(clients).into_iter().map(|(name, group)| bar(name, group)).collect();
    let most = bars.iter().map(|bar| bar.parts[0].0).fold(LEAST, f64::max);
    let twice: u64 = clients.iter().map(|client| client.duplicate_bytes).sum();
    let share = percent(run.phase.duplicates());
    let all = format!("bytes received twice: {share} of the fetched bytes, {}", bytes(twice as f64));
    let name = format!("received twice, in percent of the client's verified bytes{}", grouped(clients));
    let words = (twice == 0).then(|| Item::Words("no duplicates".to_owned()));
    (vec![row(bars, Axis { name, range: from_zero(most) }, words)], vec![(Key::Box(COLOUR), all)])
}

fn bar(name: String, group: &[ClientRecord]) -> Bar {
    let twice = group.iter().map(|client| client.duplicate_bytes).sum::<u64>() as f64;
    let once = group.iter().flat_map(|client| client.by_source.values()).sum::<u64>() as f64;
    // If clients received duplicates but verified nothing, the percentage is undefined. Show 100 %.
    let share = ratio(twice, once).unwrap_or(if twice > 0.0 { 1.0 } else { 0.0 });
    let reassigned: u64 = group.iter().map(|client| client.reassigned_chunks).sum();
    let moved = match reassigned {
        0 => String::new(),
        count => format!("; {} reassigned", counted(count as usize, "chunk")),
    };
    Bar { name, parts: vec![(share * 100.0, COLOUR)], note: format!("{} ({}){moved}", percent(share), bytes(twice)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::example;

    #[test]
    fn a_run_without_duplicates_has_a_text_instead_of_bars() {
        let has_text = |run: &Run| of(run).0[0].charts[0].1.items.iter().any(|item| matches!(item, Item::Words(_)));
        let run = &mut example::crowd().runs[0];
        assert!(!has_text(run));
        run.phase.clients.iter_mut().for_each(|client| client.duplicate_bytes = 0);
        assert!(has_text(run));
    }

    #[test]
    fn a_bar_is_a_share_of_the_clients_verified_bytes() {
        let by_source = [("seed 0".to_owned(), 100), ("client 1".to_owned(), 100)].into();
        let client = ClientRecord { by_source, duplicate_bytes: 3, reassigned_chunks: 2, ..ClientRecord::default() };
        let bar = bar(client.name.clone(), std::slice::from_ref(&client));
        assert_eq!((bar.parts[0].0, bar.note.as_str()), (1.5, "1.50 % (3 B); 2 chunks reassigned"));
    }
}
