//! Charts with a bar for each client, or for each group of clients if there are many clients.

use crate::chart::{Axis, Chart, Colour, Item, Row, Rows};
use crate::lab::record::ClientRecord;

/// The maximum number of bars, so that the picture is not taller than a screen.
const MAX_BARS: usize = 40;
/// The height of one bar with its margin, in pixels.
const BAR: f64 = 20.0;
/// The height of everything in a chart except its bars, in pixels.
const BESIDE: f64 = 88.0;

/// A bar with its name, the lengths and colours of its parts, and a note that is drawn to its right.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) parts: Vec<(f64, Colour)>,
    pub(super) note: String,
}

/// Divides the clients into groups of consecutive clients, one group for each bar. Returns each group with the name of
/// its bar.
pub(super) fn groups(clients: &[ClientRecord]) -> Vec<(String, &[ClientRecord])> {
    let together = clients.len().div_ceil(MAX_BARS).max(1);
    let named = clients.chunks(together).map(|group| {
        let name = match group {
            [one] => one.name.clone(),
            [first, .., last] => {
                let number = last.name.strip_prefix("client ").unwrap_or(&last.name);
                format!("{} to {number}", first.name)
            }
            [] => String::new(),
        };
        (name, group)
    });
    named.collect()
}

/// Returns a suffix for the name of the axis: if a bar stands for several clients, the suffix says that it shows a
/// mean.
pub(super) fn grouped(clients: &[ClientRecord]) -> &'static str {
    if clients.len() > MAX_BARS { ", mean of each group" } else { "" }
}

/// Returns a row with one chart. The chart has the bars from top to bottom, and the items in `others`.
pub(super) fn row(bars: Vec<Bar>, x: Axis, others: impl IntoIterator<Item = Item>) -> Row {
    let mut items = Vec::new();
    for (lane, bar) in bars.iter().enumerate() {
        let mut from = 0.0;
        for (length, colour) in bar.parts.iter().filter(|(length, _)| length.is_finite() && *length > 0.0) {
            items.push(Item::Span(lane, from..from + length, *colour));
            from += length;
        }
    }
    items.extend(others);
    let height = bars.len().max(2) as f64 * BAR + BESIDE;
    let lanes = Rows::Lanes(bars.into_iter().map(|bar| (bar.name, bar.note)).collect());
    Row { height, charts: vec![(1.0, Chart { caption: String::new(), x, y: lanes, items, marks: Vec::new() })] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lab::example;

    #[test]
    fn many_clients_share_bars_and_all_are_included() {
        for (clients, bars, last) in
            [(1, 1, "client 0"), (40, 40, "client 39"), (41, 21, "client 40"), (200, 40, "client 195 to 199")]
        {
            let record = example::of_clients(clients, None);
            let groups = groups(&record.runs[0].phase.clients);
            assert_eq!((groups.len(), groups.last().unwrap().0.as_str()), (bars, last), "{clients} clients");
            assert_eq!(groups.iter().map(|(_, group)| group.len()).sum::<usize>(), clients as usize);
        }
    }
}
