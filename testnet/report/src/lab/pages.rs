//! The summary page of each scenario with all figures, and the index page of all scenarios with all pictures.

use phase_units::{date, seconds};

use super::figures::{MEANING, containers, events, incidents, machine, runs, setup};
use super::pictures::Picture;
use super::record::{Record, Run};
use crate::escape::address;
use crate::page::Page;

const TITLE: &str = "Phase on containers";
/// The maximum number of incidents (errors, bans and the like) on a page. `report.json` has all incidents.
const MAX_INCIDENTS: usize = 200;
/// The maximum number of characters of a label that are used in a file name.
const MAX_LABEL: usize = 80;

/// Returns the summary of a scenario as Markdown. `report` is the name of the file with all measurements.
pub(super) fn summary(record: &Record, report: &str) -> String {
    let mut page = Page::default();
    let verdict = if record.held() { "all promises held" } else { "FAILED" };
    page.heading(1, &format!("{}: {verdict}", record.scenario));
    page.text(&record.about);
    page.text(&format!("{}.", measured(record)));
    page.table(&runs([record]));
    page.text(MEANING);
    for (number, run) in record.runs.iter().enumerate() {
        page.heading(2, &run.label);
        page.text(&format!("{}.", setup(&run.setup)));
        page.list(3, "Failures", &run.broken);
        details(&mut page, run);
        page.heading(3, "Pictures");
        for picture in Picture::ALL {
            page.picture(&picture_file(record, number, picture), picture.caption());
        }
        for (title, outcome) in
            [("Containers", Some(&run.phase)), ("Containers of the HTTP baseline", run.http.as_ref())]
        {
            if let Some(outcome) = outcome.filter(|outcome| !outcome.nodes.is_empty()) {
                page.heading(3, title);
                page.table(&containers(outcome));
            }
        }
    }
    page.heading(2, "Scenario file");
    page.code(&record.definition);
    page.links("All measurements are in", &[(report, address(report))]);
    page.to_markdown()
}

/// Adds the results of a run that the table of runs does not show.
fn details(page: &mut Page, run: &Run) {
    if let Some(predicted) = &run.simulated {
        let [p50, p99, last] = [predicted.p50, predicted.p99, predicted.last].map(seconds);
        page.text(&format!("The simulator predicts: p50 {p50}, p99 {p99}, last {last}."));
    }
    if !run.events.is_empty() {
        page.heading(3, "Events");
        page.table(&events(run));
    }
    let mut listed = incidents(&run.phase);
    listed.extend(run.http.iter().flat_map(incidents).map(|text| format!("HTTP: {text}")));
    let more = listed.len().saturating_sub(MAX_INCIDENTS);
    listed.truncate(MAX_INCIDENTS);
    listed.extend((more > 0).then(|| format!("and {more} more")));
    page.list(3, "Incidents", &listed);
}

/// Returns the index page as HTML. Each entry of `scenarios` has the directory of a scenario, relative to the index
/// page, and the record of the scenario. `summary` and `report` are the names of two files in each of these
/// directories.
pub(super) fn index(scenarios: &[(String, &Record)], summary: &str, report: &str) -> String {
    let mut page = Page::default();
    page.heading(1, TITLE);
    let all = || scenarios.iter().flat_map(|(_, record)| &record.runs);
    match (all().count(), all().filter(|run| !run.held()).count()) {
        (total, 0) => page.text(&format!("{total} of {total} runs kept all promises.")),
        (total, failed) => page.warning(&format!("{failed} of {total} runs FAILED.")),
    }
    let anchors = scenarios.iter().enumerate();
    let anchors: Vec<_> = anchors.map(|(number, (_, record))| (&*record.scenario, format!("#s{number}"))).collect();
    page.links("Scenarios:", &anchors);
    page.table(&runs(scenarios.iter().map(|(_, record)| *record)));
    page.text(MEANING);
    for (number, (dir, record)) in scenarios.iter().enumerate() {
        page.anchored(2, &record.scenario, &format!("s{number}"));
        page.text(&record.about);
        let file = |name: &str| address(&format!("{dir}/{name}"));
        let links = [("Summary", file(summary)), ("all measurements", file(report))];
        page.links(&format!("{}.", measured(record)), &links);
        for number in 0..record.runs.len() {
            pictures(&mut page, dir, record, number);
        }
    }
    page.to_html(TITLE)
}

fn pictures(page: &mut Page, dir: &str, record: &Record, number: usize) {
    let run = &record.runs[number];
    if record.runs.len() > 1 || run.label != record.scenario {
        page.heading(3, &run.label);
    }
    page.text(&format!("{}.", setup(&run.setup)));
    match run.broken.as_slice() {
        [] => page.text("All promises held."),
        broken => broken.iter().for_each(|failure| page.warning(&format!("FAILED: {failure}"))),
    }
    for picture in Picture::ALL {
        let file = format!("{dir}/{}", picture_file(record, number, picture));
        page.picture(&file, &format!("{}: {}", run.label, picture.caption()));
    }
}

/// Describes when and on which machine a scenario was run.
fn measured(record: &Record) -> String {
    format!("Measured at {} on: {}", date(record.taken_at), machine(&record.host))
}

/// Returns the file name of a picture. If the scenario has several runs, the name includes the label of the run.
/// Special characters in the label are replaced by `-`.
pub(super) fn picture_file(record: &Record, number: usize, picture: Picture) -> String {
    let name = picture.name();
    let [_, _, ..] = record.runs.as_slice() else { return format!("{name}.svg") };
    let plain = |label: &str| -> String {
        let letters = label.chars().take(MAX_LABEL);
        letters.map(|letter| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '-' }).collect()
    };
    let label = plain(&record.runs[number].label);
    let same = record.runs[..number].iter().filter(|run| plain(&run.label) == label).count();
    let suffix = if same == 0 { String::new() } else { format!("-again-{same}") };
    format!("{name}-{label}{suffix}.svg")
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn assert_has(page: &str, parts: &[&str]) {
        for part in parts {
            assert!(page.contains(part), "{part:?} is not in {page}");
        }
    }

    fn index_of(scenarios: &[(&str, Record)]) -> String {
        let scenarios: Vec<_> = scenarios.iter().map(|(dir, record)| ((*dir).to_owned(), record)).collect();
        index(&scenarios, "summary.md", "report.json")
    }

    #[test]
    fn a_summary_has_all_figures_and_pictures() {
        let parts = [
            "# crowd: all promises held",
            "| scenario | run | setup | T_min | p50 |",
            "max(F/Σu\\_s, F/d, N·F/(Σu\\_s + Σu\\_i))",
            "8 processors, 32 GiB of RAM, kernel 6.1.0, Docker 27.3.1",
            "Measured at 2026-11-22T",
            "The simulator predicts: p50 14.40 s",
            "[![clients that have finished, over time](completion.svg)](completion.svg)",
            "| container | processor time | peak memory | sent | received |",
            "| client 31 |",
            "### Containers of the HTTP baseline",
            "| http server |",
            "```toml\nname = \"crowd\"\n```",
            "[report.json](report.json)",
        ];
        assert_has(&summary(&example::crowd(), "report.json"), &parts);
        assert_has(&summary(&example::one(), ""), &["| 1.50 s | seed 1: killed |"]);
        let parts = ["# crowd: FAILED", "- client 1 did not finish\n", "- client 1 failed: no provider left"];
        assert_has(&summary(&example::failed(), ""), &parts);
    }

    #[test]
    fn the_index_has_a_row_and_all_pictures_of_each_run() {
        let html = index_of(&[("crowd", example::crowd()), ("one", example::one())]);
        let parts = [
            "<title>Phase on containers</title>",
            "2 of 2 runs kept all promises",
            "<a href=\"#s1\">failover</a>",
            "src=\"crowd/completion.svg\"",
            "src=\"one/usage.svg\"",
            "href=\"crowd/summary.md\"",
        ];
        assert_has(&html, &parts);
        assert_eq!(html.matches("<img ").count(), 10);
        assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("https://"));
        let html = index_of(&[("a", example::failed()), ("b", example::empty())]);
        assert_has(&html, &["1 of 2 runs FAILED", "<strong>FAILED: client 1 did not finish</strong>"]);
        assert_has(&index_of(&[]), &["0 of 0 runs kept"]);
    }

    #[test]
    fn markup_in_names_and_directories_is_escaped() {
        let html = index_of(&[("a \"b\"<c>?#%", example::hostile_names())]);
        let page = summary(&example::hostile_names(), "");
        let (text, definition) = page.split_once("## Scenario file").unwrap();
        for page in [&html, text] {
            assert!(!page.contains("<script") && !page.contains("<img src=x") && !page.contains('\u{1b}'), "{page}");
        }
        let address = "href=\"a%20%22b%22%3Cc%3E%3F%23%25/report.json\"";
        assert_has(&html, &["&lt;script&gt;alert(1)&lt;/script&gt;", address]);
        assert!(definition.contains("````toml\n"), "the fence is longer than any in the file: {definition}");
        // Markup in a cell must not add cells to its row. The tables have 2, 5 and 15 columns.
        for row in text.lines().filter(|line| line.starts_with("| ") && line.contains("alert(1)")) {
            let cells = row.replace("\\|", "").matches('|').count() - 1;
            assert!([2, 5, 15].contains(&cells), "{cells} cells: {row}");
        }
    }

    #[test]
    fn pictures_of_several_runs_have_different_names_without_slashes() {
        let mut record = example::one();
        let run = record.runs[0].clone();
        for label in ["crowd-8", "../up", "../up", "--up"] {
            record.runs.push(Run { label: label.to_owned(), ..run.clone() });
        }
        let names: Vec<_> = (0..5).map(|number| picture_file(&record, number, Picture::Usage)).collect();
        let expected =
            ["usage-failover.svg", "usage-crowd-8.svg", "usage----up.svg", "usage----up-again-1.svg", "usage---up.svg"];
        assert_eq!(names, expected);
    }
}
