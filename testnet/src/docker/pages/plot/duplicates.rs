//! What clients received twice.

use plotters::prelude::*;

use super::bars::{self, Bar, grouped, groups};
use super::frame::from_start;
use super::{Picture, WIDTH};
use crate::docker::pages::units::{bytes, percent, ratio};
use crate::docker::record::{ClientRecord, Record, Run};
use crate::draw::{COLOURS, Drawn, Kind, Legend};

const COLOUR: RGBColor = COLOURS[1];
/// The least end of the axis in percent: less than this is little, and is to look like little.
const LEAST: f64 = 1.0;

/// Draws a bar for each client.
pub(super) fn draw(record: &Record, run: &Run) -> Drawn<String> {
    let clients = &run.phase.clients;
    let bars: Vec<_> = groups(clients).into_iter().map(|(name, group)| bar(name, group)).collect();
    let most = bars.iter().map(|bar| bar.parts[0].0).fold(LEAST, f64::max);
    let twice: u64 = clients.iter().map(|client| client.duplicate_bytes).sum();
    let all = format!(
        "bytes that came twice: {} of what was fetched, {}",
        percent(run.phase.duplicates()),
        bytes(twice as f64)
    );
    let legend = Legend::new(vec![(Kind::Box(COLOUR), all)], WIDTH);
    let x_name = format!("came twice, as a part of what the client fetched and verified (%){}", grouped(clients));
    Picture::Duplicates.sheet((record, run), bars::height(bars.len()), &legend, |area| {
        bars::draw(area, &bars, from_start(most), &x_name, None)?;
        if twice == 0 {
            bars::say(area, "nothing came twice")?;
        }
        Ok(())
    })
}

fn bar(name: String, group: &[ClientRecord]) -> Bar {
    let twice = group.iter().map(|client| client.duplicate_bytes).sum::<u64>() as f64;
    let once = group.iter().flat_map(|client| client.by_source.values()).sum::<u64>() as f64;
    // Who has duplicates and nothing else has them all twice.
    let part = ratio(twice, once).unwrap_or(if twice > 0.0 { 1.0 } else { 0.0 });
    let reassigned: u64 = group.iter().map(|client| client.reassigned_chunks).sum();
    let moved = if reassigned == 0 { String::new() } else { format!("; {reassigned} chunks reassigned") };
    Bar { name, parts: vec![(part * 100.0, COLOUR)], note: format!("{} ({}){moved}", percent(part), bytes(twice)) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::docker::pages::example;

    #[test]
    fn nothing_twice_is_said_in_words() {
        let mut record = example::crowd();
        assert!(!draw(&record, &record.runs[0]).unwrap().contains("nothing came twice"));
        for client in &mut record.runs[0].phase.clients {
            client.duplicate_bytes = 0;
        }
        assert!(draw(&record, &record.runs[0]).unwrap().contains("nothing came twice"));
    }

    #[test]
    fn a_bar_is_a_part_of_what_its_client_fetched() {
        let by_source = [("seed 0".to_owned(), 100), ("client 1".to_owned(), 100)].into();
        let client = ClientRecord { by_source, duplicate_bytes: 3, reassigned_chunks: 2, ..ClientRecord::default() };
        let bar = bar(client.name.clone(), std::slice::from_ref(&client));
        assert_eq!((bar.parts[0].0, bar.note.as_str()), (1.5, "1.50 % (3 B); 2 chunks reassigned"));
    }
}
