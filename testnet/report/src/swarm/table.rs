//! The table of runs in a terminal. The table is made row by row, so that each run can be shown as soon as it ends.

use phase_scenario::Variant;

use super::outcome::{Outcome, Run};
use super::report::Report;
use crate::table::{Column, Table};

/// The indent of the row of a run that was made for comparison.
const INDENT: &str = "  ";

/// The table of runs in a terminal, made row by row.
#[derive(Clone, Debug)]
pub struct RunTable(Table);

impl RunTable {
    /// Returns a table whose first column is wide enough for these labels.
    pub fn new<'a>(labels: impl Iterator<Item = &'a str>) -> Self {
        let named = [Variant::Honest, Variant::Undisturbed].map(|variant| variant.to_string().len() + INDENT.len());
        let widest = labels.map(|label| label.chars().count()).chain(named).max().unwrap_or(0);
        let figures = [
            ("RNG seed", 8),
            ("clients", 7),
            ("T_min s", 9),
            ("p50", 6),
            ("p99", 6),
            ("last", 6),
            ("seed copies", 11),
            ("dup. %", 6),
            ("stalls", 6),
            ("bans", 5),
            ("events", 7),
            ("wall s", 7),
        ];
        // Leave two spaces after the label: one here, and the space that the table puts between all columns.
        let mut columns = vec![Column::word("run").width(widest + 1)];
        columns.extend(figures.map(|(name, width)| Column::figure(name).width(width)));
        Self(Table::new(columns))
    }

    /// Returns the names of the columns as a line of text.
    pub fn header(&self) -> String {
        self.0.header()
    }

    /// Returns the table row of a run, followed by the rows of the runs with which this run is compared.
    pub fn rows(&self, outcome: &Outcome) -> String {
        let verdict = if outcome.held() { "ok".to_owned() } else { format!("FAILED: {}", outcome.broken.join("; ")) };
        let first = format!("{}  {verdict}", self.row(&outcome.run.label, &outcome.run));
        let compared = outcome.compared.iter().map(|run| self.row(&format!("{INDENT}{}", run.variant), run));
        std::iter::once(first).chain(compared).collect::<Vec<_>>().join("\n")
    }

    fn row(&self, label: &str, run: &Run) -> String {
        let named = [label.to_owned(), run.seed.to_string()];
        let Ok(report) = &run.result else { return self.0.line(named) };
        let Report { clients, t_min, seed_copies, stalls, bans, .. } = report;
        let ratio = |time: Option<f64>| time.map_or("—".to_owned(), |time| format!("{:.3}", time / t_min));
        let figures = [
            clients.to_string(),
            format!("{t_min:.3}"),
            ratio(report.p50),
            ratio(report.p99),
            ratio(report.last),
            format!("{seed_copies:.2}"),
            format!("{:.2}", report.duplicates * 100.0),
            stalls.to_string(),
            bans.to_string(),
            short(report.events),
            format!("{:.1}", run.wall.as_secs_f64()),
        ];
        self.0.line(named.into_iter().chain(figures))
    }
}

/// Formats a count with few digits: `951`, `51.2k`, `48.2M`.
fn short(count: u64) -> String {
    match count {
        0..1000 => count.to_string(),
        1000..1_000_000 => format!("{:.1}k", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}M", count as f64 / 1e6),
        _ => format!("{:.1}G", count as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::super::example::{report, run};
    use super::*;

    #[test]
    fn cells_are_aligned_with_the_column_names() {
        let table = RunTable::new(["crowd-100", "a-longer-label-than-any-other"].into_iter());
        let compared = vec![run(Variant::Honest, Ok(report()))];
        let outcome = Outcome::new(run(Variant::Whole, Ok(report())), compared, |_, _| Vec::new());
        let header = "run                            RNG seed clients   T_min s    p50    p99   last seed copies dup. % \
                      stalls  bans  events  wall s";
        let rows = "crowd-100                             7     100    10.000  1.100  1.300  1.500        1.80   \
                    2.00      2     0   51.2k     1.2  ok\n\
                    \u{20} without hostile nodes               7     100    10.000  1.100  1.300  1.500        \
                    1.80   2.00      2     0   51.2k     1.2";
        assert_eq!((table.header().as_str(), table.rows(&outcome).as_str()), (header, rows));
    }

    #[test]
    fn the_line_of_a_failed_run_has_the_reason() {
        let table = RunTable::new(["crowd-100"].into_iter());
        let judge = |_: &Report, _: &Outcome| vec!["p50 is late".to_owned()];
        let rows = table.rows(&Outcome::new(run(Variant::Whole, Ok(report())), Vec::new(), judge));
        assert!(rows.ends_with("FAILED: p50 is late"), "{rows}");
        let broken_off = run(Variant::Whole, Err("chunk 3 in two states".to_owned()));
        let rows = table.rows(&Outcome::new(broken_off, Vec::new(), judge));
        assert!(rows.ends_with("  7  FAILED: the simulation broke off: chunk 3 in two states"), "{rows}");
    }

    #[test]
    fn counts_are_written_with_few_digits() {
        for (count, text) in [(0, "0"), (999, "999"), (51_234, "51.2k"), (48_160_000, "48.2M"), (3_000_000_000, "3.0G")]
        {
            assert_eq!(short(count), text);
        }
    }
}
