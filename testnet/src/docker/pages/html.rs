//! All scenarios of a directory on one page, without scripts and without anything from elsewhere.

use std::path::Path;

use super::figures::{COLUMNS, MEANING, VERDICT, WORDS, machine, row, setup, taken_at};
use super::plot::Picture;
use super::{Page, REPORT, SUMMARY, picture_file};
use crate::docker::record::{Record, Run};

const TITLE: &str = "Phase on containers";
const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;color:#222;background:#fff;margin:2rem auto;max-width:1500px;padding:0 1rem}\
h1,h2,h3{line-height:1.25;overflow-wrap:anywhere}h2{margin-top:3rem;border-top:1px solid #ddd;padding-top:1.5rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem}\
th,td{padding:.35rem .6rem;border-bottom:1px solid #ddd;text-align:right;vertical-align:top;white-space:nowrap}\
th{background:#f4f4f4;white-space:normal}.word{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:6rem}.long{min-width:13rem}\
.held{color:#00693e}.failed{color:#b00020;font-weight:600}\
img{display:block;max-width:100%;height:auto;margin:1rem 0;border:1px solid #eee}\
p{max-width:60rem;overflow-wrap:anywhere}a{color:#0059a8}";

/// All that `index.html` has.
pub(super) fn index(pages: &[Page]) -> String {
    let runs: usize = pages.iter().map(|page| page.record.runs.len()).sum();
    let failed = pages.iter().flat_map(|page| &page.record.runs).filter(|run| !run.held()).count();
    let verdict = match failed {
        0 => format!("<p class=\"held\">{runs} of {runs} runs held all promises.</p>"),
        failed => format!("<p class=\"failed\">{failed} of {runs} runs FAILED.</p>"),
    };
    let sections: String = pages.iter().enumerate().map(|(number, page)| section(number, page)).collect();
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{TITLE}</title>\n<style>{STYLE}</style>\n\
         </head>\n<body>\n<h1>{TITLE}</h1>\n{verdict}\n{}<p>{}</p>\n{sections}</body>\n</html>\n",
        table(pages),
        escaped(MEANING),
    )
}

fn table(pages: &[Page]) -> String {
    let heads: String =
        COLUMNS.iter().enumerate().map(|(column, name)| cell("th", column, &escaped(name), "")).collect();
    let mut rows = String::new();
    for (number, page) in pages.iter().enumerate() {
        for run in &page.record.runs {
            let cells = row(&page.record, run);
            let cells = cells.iter().enumerate().map(|(column, text)| match column {
                0 => cell("td", column, &format!("<a href=\"#s{number}\">{}</a>", escaped(text)), ""),
                VERDICT => cell("td", column, &escaped(text), if run.held() { " held" } else { " failed" }),
                // What is in brackets goes below: there are many columns.
                column if !WORDS.contains(&column) => cell("td", column, &escaped(text).replace(" (", "<br>("), ""),
                _ => cell("td", column, &escaped(text), ""),
            });
            rows += &format!("<tr>{}</tr>\n", cells.collect::<String>());
        }
    }
    format!("<div class=\"wide\"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n")
}

/// A cell. Its text is HTML already.
fn cell(tag: &str, column: usize, html: &str, class: &str) -> String {
    let kind = match column {
        2 | VERDICT => "word long",
        column if WORDS.contains(&column) => "word",
        _ => "figure",
    };
    format!("<{tag} class=\"{kind}{class}\">{html}</{tag}>")
}

fn section(number: usize, page: &Page) -> String {
    let record = &page.record;
    let runs: String = record.runs.iter().enumerate().map(|(run_number, run)| of_run(page, run_number, run)).collect();
    format!(
        "<h2 id=\"s{number}\">{}</h2>\n<p>{}</p>\n<p>Taken at {} on: {}. <a href=\"{}\">Summary</a>, \
         <a href=\"{}\">all that was measured</a>.</p>\n{runs}",
        escaped(&record.scenario),
        escaped(&record.about),
        taken_at(record),
        escaped(&machine(record)),
        address(page, SUMMARY),
        address(page, REPORT),
    )
}

fn of_run(page: &Page, number: usize, run: &Run) -> String {
    let Page { record, .. } = page;
    let title = if shows_label(record, run) { format!("<h3>{}</h3>\n", escaped(&run.label)) } else { String::new() };
    let verdict: String = match run.broken.as_slice() {
        [] => "<p class=\"held\">All promises held.</p>\n".to_owned(),
        broken => {
            let items: String = broken.iter().map(|text| format!("<li>{}</li>", escaped(text))).collect();
            format!("<p class=\"failed\">What did not hold:</p>\n<ul class=\"failed\">{items}</ul>\n")
        }
    };
    let pictures: String = Picture::ALL
        .into_iter()
        .map(|picture| {
            let address = address(page, &picture_file(record, number, picture));
            let words = escaped(&format!("{}: {}", run.label, picture.caption()));
            format!("<a href=\"{address}\"><img loading=\"lazy\" src=\"{address}\" alt=\"{words}\"></a>\n")
        })
        .collect();
    format!("{title}<p>{}.</p>\n{verdict}{pictures}", escaped(&setup(&run.setup)))
}

fn shows_label(record: &Record, run: &Run) -> bool {
    record.runs.len() > 1 || run.label != record.scenario
}

/// The address of a file of a page, relative to the index.
fn address(page: &Page, file: &str) -> String {
    let path = Path::new(&page.dir).join(file);
    // A separator is the only byte of a path that has a meaning in an address and is to keep it.
    let parts = path.iter().map(|part| part.as_encoded_bytes().iter().map(|byte| encoded(*byte)).collect::<String>());
    format!("./{}", parts.collect::<Vec<_>>().join("/"))
}

fn encoded(byte: u8) -> String {
    match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    }
}

/// Text that is nothing but text, in an element or in quotes.
fn escaped(text: &str) -> String {
    let mut html = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => html.push_str("&amp;"),
            '<' => html.push_str("&lt;"),
            '>' => html.push_str("&gt;"),
            '"' => html.push_str("&quot;"),
            '\'' => html.push_str("&#39;"),
            _ if letter.is_control() => html.push(' '),
            _ => html.push(letter),
        }
    }
    html
}

#[cfg(test)]
mod tests {
    use super::super::example;
    use super::*;

    fn page(dir: &str, record: Record) -> Page {
        Page { dir: dir.into(), record }
    }

    #[test]
    fn the_index_has_a_row_and_all_pictures_of_each_run() {
        let html = index(&[page("crowd", example::crowd()), page("one", example::one())]);
        for part in [
            "<title>Phase on containers</title>",
            "2 of 2 runs held all promises",
            "<a href=\"#s1\">failover</a>",
            "src=\"./crowd/completion.svg\"",
            "src=\"./one/usage.svg\"",
            "href=\"./crowd/summary.md\"",
        ] {
            assert!(html.contains(part), "{part:?} is not in {html}");
        }
        assert_eq!(html.matches("<img ").count(), 10);
        assert!(!html.contains("<script") && !html.contains("http://") && !html.contains("https://"));
    }

    #[test]
    fn failures_are_told() {
        let html = index(&[page("a", example::trouble()), page("b", example::empty())]);
        assert!(html.contains("1 of 2 runs FAILED") && html.contains("<li>client 1 did not finish</li>"), "{html}");
    }

    #[test]
    fn names_are_text_and_directories_are_addresses() {
        let html = index(&[page("a \"b\"<c>?#%", example::hostile_names())]);
        assert!(!html.contains("<script") && !html.contains("<img src=x") && !html.contains('\u{1b}'), "{html}");
        assert!(html.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
        assert!(html.contains("href=\"./a%20%22b%22%3Cc%3E%3F%23%25/report.json\""), "{html}");
    }

    #[test]
    fn without_scenarios_there_is_a_page_all_the_same() {
        assert!(index(&[]).contains("0 of 0 runs held"));
    }
}
