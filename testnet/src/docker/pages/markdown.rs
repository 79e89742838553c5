//! A scenario as Markdown.

use std::fmt::Write as _;

use super::figures::{
    COLUMNS, CONTAINER_COLUMNS, MEANING, WORDS, containers, incidents, machine, row, setup, taken_at,
};
use super::plot::Picture;
use super::units::seconds;
use super::{REPORT, picture_file};
use crate::docker::record::{Outcome, Record, Run};

/// The most lines that clients have to tell: more are in the report.
const MAX_INCIDENTS: usize = 200;

/// All that `summary.md` has.
pub(super) fn summary(record: &Record) -> String {
    let verdict = if record.held() { "all promises held" } else { "FAILED" };
    let mut page = format!("# {}: {verdict}\n\n", escaped(&record.scenario));
    if !record.about.is_empty() {
        page += &format!("{}\n\n", escaped(&record.about));
    }
    page += &format!("Taken at {} on: {}.\n\n", taken_at(record), escaped(&machine(record)));
    let figures: Vec<_> = (0..COLUMNS.len()).filter(|column| !WORDS.contains(column)).collect();
    let rows = record.runs.iter().map(|run| row(record, run).to_vec());
    page += &table(&COLUMNS, &figures, rows);
    page += &format!("\n{MEANING}\n");
    for (number, run) in record.runs.iter().enumerate() {
        page += &of_run(record, number, run);
    }
    page += &format!("\n## Scenario file\n\n{}\n", fenced(&record.definition));
    page += &format!("\nAll that was measured is in [{REPORT}]({REPORT}).\n");
    page
}

fn of_run(record: &Record, number: usize, run: &Run) -> String {
    let mut page = format!("\n## {}\n\n{}.\n", escaped(&run.label), escaped(&setup(&run.setup)));
    page += &list("What did not hold", &run.broken);
    if let Some(prediction) = &run.simulated {
        let times = [prediction.p50, prediction.p99, prediction.last].map(seconds);
        page += &format!("\nThe simulator says: p50 {}, p99 {}, last {}.\n", times[0], times[1], times[2]);
    }
    if !run.events.is_empty() {
        page += "\n### What happened to nodes\n\n";
        let rows = run.events.iter().map(|event| vec![seconds(event.at), event.text.clone()]);
        page += &table(&["when", "what"], &[0], rows);
    }
    let mut told = incidents(&run.phase);
    told.extend(run.http.iter().flat_map(incidents).map(|text| format!("HTTP: {text}")));
    let more = told.len().saturating_sub(MAX_INCIDENTS);
    told.truncate(MAX_INCIDENTS);
    if more > 0 {
        told.push(format!("and {more} more"));
    }
    page += &list("What clients tell", &told);
    page += "\n### Pictures\n";
    for picture in Picture::ALL {
        let (caption, file) = (picture.caption(), picture_file(record, number, picture));
        write!(page, "\n![{caption}]({file})\n").expect("writing to a string cannot fail");
    }
    page += &containers_of("Containers", &run.phase);
    if let Some(http) = &run.http {
        page += &containers_of("Containers of HTTP", http);
    }
    page
}

fn containers_of(title: &str, outcome: &Outcome) -> String {
    if outcome.nodes.is_empty() {
        return String::new();
    }
    let rows = containers(outcome).map(|row| row.to_vec());
    format!("\n### {title}\n\n{}", table(&CONTAINER_COLUMNS, &[1, 2, 3, 4], rows))
}

fn list(title: &str, texts: &[String]) -> String {
    if texts.is_empty() {
        return String::new();
    }
    let lines: String = texts.iter().map(|text| format!("- {}\n", escaped(text))).collect();
    format!("\n### {title}\n\n{lines}")
}

/// A table; columns of figures stand to the right.
fn table(columns: &[&str], figures: &[usize], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
    let rule = (0..columns.len()).map(|column| if figures.contains(&column) { "---:" } else { "---" }.to_owned());
    let mut table = line(columns.iter().map(|name| (*name).to_owned()).collect());
    table += &line(rule.collect());
    for row in rows {
        table += &line(row.iter().map(|cell| escaped(cell)).collect());
    }
    table
}

/// Text that is nothing but text, on one line: no markup, no HTML, no end of a cell.
fn escaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => plain.push_str("&amp;"),
            '<' => plain.push_str("&lt;"),
            '>' => plain.push_str("&gt;"),
            '\\' | '`' | '*' | '_' | '[' | ']' | '|' | '#' | '~' => plain.extend(['\\', letter]),
            _ if letter.is_control() => plain.push(' '),
            _ => plain.push(letter),
        }
    }
    plain
}

/// Text as it is but for control characters, between fences that do not occur in it.
fn fenced(text: &str) -> String {
    let is_shown = |letter: &char| !letter.is_control() || matches!(letter, '\n' | '\t');
    let text: String = text.chars().filter(is_shown).collect();
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}toml\n{}\n{fence}", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    #[test]
    fn a_summary_has_all_that_was_measured() {
        let page = summary(&example::crowd());
        for part in [
            "# crowd: all promises held",
            "| scenario | run | setup | T_min | p50 |",
            "max(F/Σu_s, F/d, N·F/(Σu_s + Σu_i))",
            "8 processors, 32 GiB of memory, kernel 6.1.0, Docker 27.3.1",
            "Taken at 2026-11-22T",
            "The simulator says: p50 14.40 s",
            "![clients that have everything, over time](completion.svg)",
            "| container | processor time | peak memory | sent | received |",
            "| client 31 |",
            "### Containers of HTTP",
            "| http server |",
            "```toml\nname = \"crowd\"\n```",
        ] {
            assert!(page.contains(part), "{part:?} is not in {page}");
        }
    }

    #[test]
    fn events_and_what_did_not_hold_are_told() {
        let page = summary(&example::one());
        assert!(page.contains("| 1.50 s | seed 1: killed |"), "{page}");
        let page = summary(&example::trouble());
        for part in ["# crowd: FAILED", "- client 1 did not finish\n", "- client 1 failed: no provider left"] {
            assert!(page.contains(part), "{part:?} is not in {page}");
        }
    }

    #[test]
    fn hostile_names_stay_in_their_cell() {
        let page = summary(&example::hostile_names());
        let (text, definition) = page.split_once("## Scenario file").unwrap();
        assert!(!text.contains("<script") && !text.contains("<img") && !page.contains('\u{1b}'), "{text}");
        assert!(definition.contains("````toml\n"), "the fence is longer than any in the file: {definition}");
        // Whatever is in a cell, each row has as many as the table.
        for row in text.lines().filter(|line| line.starts_with("| ") && line.contains("alert(1)")) {
            let cells = row.replace("\\|", "").matches('|').count() - 1;
            assert!([2, 5, COLUMNS.len()].contains(&cells), "{cells} cells: {row}");
        }
        assert_eq!(escaped("a|b\nc_d"), "a\\|b c\\_d");
    }
}
