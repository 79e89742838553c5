//! Many runs as a table, one line each.

use std::fmt::Write as _;

use super::{Outcome, Report, Run, Variant};

/// Prints runs line by line, so that each can be shown as soon as it is over.
#[derive(Clone, Debug)]
pub struct Table {
    label_width: usize,
}

impl Table {
    /// A table for runs with these labels.
    pub fn new<'a>(labels: impl Iterator<Item = &'a str>) -> Self {
        let named =
            [Variant::Honest, Variant::Undisturbed].map(|variant| variant.to_string().chars().count() + INDENT.len());
        let widest = labels.map(|label| label.chars().count()).chain(named).max().unwrap_or(0);
        Self { label_width: widest }
    }

    /// What the columns are.
    pub fn header(&self) -> String {
        format!(
            "{:width$}  {:>6} {:>7} {:>9} {:>6} {:>6} {:>6} {:>7} {:>6} {:>6} {:>5} {:>7} {:>7}",
            "run",
            "seed",
            "clients",
            "T_min s",
            "p50",
            "p99",
            "last",
            "copies",
            "dup %",
            "stalls",
            "bans",
            "events",
            "wall s",
            width = self.label_width,
        )
    }

    /// A run and those that it is compared with.
    pub fn rows(&self, outcome: &Outcome) -> String {
        let verdict = if outcome.held() { "ok".to_owned() } else { format!("FAILED: {}", outcome.broken.join("; ")) };
        let mut rows = format!("{}  {verdict}", self.row(&outcome.run.label, &outcome.run));
        for run in &outcome.compared {
            let label = format!("{INDENT}{}", run.variant);
            write!(rows, "\n{}", self.row(&label, run)).expect("writing to a string cannot fail");
        }
        rows
    }

    fn row(&self, label: &str, run: &Run) -> String {
        let (seed, wall, width) = (run.seed, run.wall.as_secs_f64(), self.label_width);
        let Ok(report) = &run.result else { return format!("{label:width$}  {seed:>6}") };
        let Report { clients, t_min, seed_copies, stalls, bans, .. } = report;
        let ratio = |time: Option<f64>| time.map_or("—".to_owned(), |time| format!("{:.3}", time / t_min));
        let [p50, p99, last] = [report.p50, report.p99, report.last].map(ratio);
        let (duplicates, events) = (report.duplicates * 100.0, short(report.events));
        format!(
            "{label:width$}  {seed:>6} {clients:>7} {t_min:>9.3} {p50:>6} {p99:>6} {last:>6} {seed_copies:>7.2} \
             {duplicates:>6.2} {stalls:>6} {bans:>5} {events:>7} {wall:>7.1}"
        )
    }
}

/// Before runs that others are compared with.
const INDENT: &str = "  ";

/// A count in few digits: `951`, `51.2k`, `48.2M`.
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
    use std::time::Duration;

    use super::*;
    use crate::report::tests::report;
    use crate::scenario::Hold;

    fn run(variant: Variant) -> Run {
        let wall = Duration::from_millis(1234);
        Run { label: "crowd-100".to_owned(), seed: 7, variant, result: Ok(report()), wall }
    }

    #[test]
    fn columns_stand_under_their_names() {
        let table = Table::new(["crowd-100", "a-longer-label-than-any-other"].into_iter());
        let outcome = Outcome::new(run(Variant::Whole), vec![run(Variant::Honest)], &Hold::default());
        let (header, rows) = (table.header(), table.rows(&outcome));
        let lines: Vec<_> = rows.lines().collect();
        assert_eq!(lines[0].len(), header.len() + "  ok".len(), "{header}\n{rows}");
        assert_eq!(lines[1].len(), header.len(), "{header}\n{rows}");
        let figures: Vec<_> = lines[0].split_whitespace().collect();
        let expected = "crowd-100 7 100 10.000 1.100 1.300 1.500 1.80 2.00 2 0 51.2k 1.2 ok";
        assert_eq!(figures.join(" "), expected);
    }

    #[test]
    fn a_run_that_failed_says_why() {
        let table = Table::new(["crowd-100"].into_iter());
        let hold: Hold = toml::from_str("p99 = 1.2").unwrap();
        let rows = table.rows(&Outcome::new(run(Variant::Whole), Vec::new(), &hold));
        assert!(rows.ends_with("FAILED: p99 is 1.30 x T_min, promised 1.2"), "{rows}");
        let broken_off = Run { result: Err("chunk 3 in two states".to_owned()), ..run(Variant::Whole) };
        let rows = table.rows(&Outcome::new(broken_off, Vec::new(), &Hold::default()));
        assert!(rows.ends_with("FAILED: the simulation broke off: chunk 3 in two states"), "{rows}");
    }

    #[test]
    fn counts_are_short() {
        for (count, text) in [(0, "0"), (999, "999"), (51_234, "51.2k"), (48_160_000, "48.2M"), (3_000_000_000, "3.0G")]
        {
            assert_eq!(short(count), text);
        }
    }
}
