//! What clients received twice.

use phase_units::{bytes, percent, ratio};

use super::bars::{Bar, grouped, groups, row};
use crate::chart::{Axis, COLOURS, Colour, Item, Key, Legend, Row, from_zero};
use crate::lab::record::{ClientRecord, Run};

const COLOUR: Colour = COLOURS[1];
/// The least end of the axis in percent: a smaller part is to look small.
const LEAST: f64 = 1.0;

pub(super) fn of(run: &Run) -> (Vec<Row>, Legend) {
    let clients = &run.phase.clients;
    let bars: Vec<_> = groups(clients).into_iter().map(|(name, group)| bar(name, group)).collect();
    let most = bars.iter().map(|bar| bar.parts[0].0).fold(LEAST, f64::max);
    let twice: u64 = clients.iter().map(|client| client.duplicate_bytes).sum();
    let part = percent(run.phase.duplicates());
    let all = format!("bytes that came twice: {part} of what was fetched, {}", bytes(twice as f64));
    let name = format!("came twice, as a part of what the client fetched and verified (%){}", grouped(clients));
    let words = (twice == 0).then(|| Item::Words("nothing came twice".to_owned()));
    (vec![row(bars, Axis { name, range: from_zero(most) }, words)], vec![(Key::Box(COLOUR), all)])
}

fn bar(name: String, group: &[ClientRecord]) -> Bar {
    let twice = group.iter().map(|client| client.duplicate_bytes).sum::<u64>() as f64;
    let once = group.iter().flat_map(|client| client.by_source.values()).sum::<u64>() as f64;
    // If a client has nothing but duplicates, all of its bytes came twice.
    let part = ratio(twice, once).unwrap_or(if twice > 0.0 { 1.0 } else { 0.0 });
    let reassigned: u64 = group.iter().map(|client| client.reassigned_chunks).sum();
    let moved = if reassigned == 0 { String::new() } else { format!("; {reassigned} chunks reassigned") };
    Bar { name, parts: vec![(part * 100.0, COLOUR)], note: format!("{} ({}){moved}", percent(part), bytes(twice)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::example;

    #[test]
    fn nothing_twice_is_said_in_words() {
        let says = |run: &Run| of(run).0[0].charts[0].1.items.iter().any(|item| matches!(item, Item::Words(_)));
        let run = &mut example::crowd().runs[0];
        assert!(!says(run));
        run.phase.clients.iter_mut().for_each(|client| client.duplicate_bytes = 0);
        assert!(says(run));
    }

    #[test]
    fn a_bar_is_a_part_of_what_its_client_fetched() {
        let by_source = [("seed 0".to_owned(), 100), ("client 1".to_owned(), 100)].into();
        let client = ClientRecord { by_source, duplicate_bytes: 3, reassigned_chunks: 2, ..ClientRecord::default() };
        let bar = bar(client.name.clone(), std::slice::from_ref(&client));
        assert_eq!((bar.parts[0].0, bar.note.as_str()), (1.5, "1.50 % (3 B); 2 chunks reassigned"));
    }
}
