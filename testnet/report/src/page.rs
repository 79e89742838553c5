//! A page, built once and written as Markdown or as HTML. HTML has no scripts and needs nothing from elsewhere.

use crate::escape::{self, address};
use crate::table::Table;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;color:#222;background:#fff;margin:2rem auto;max-width:1500px;padding:0 1rem}\
h1,h2,h3{line-height:1.25;overflow-wrap:anywhere}h2{margin-top:3rem;border-top:1px solid #ddd;padding-top:1.5rem}\
.wide{overflow-x:auto}table{border-collapse:collapse;font-size:.85rem}\
th,td{padding:.35rem .6rem;border-bottom:1px solid #ddd;text-align:right;vertical-align:top;white-space:nowrap}\
th{background:#f4f4f4;white-space:normal}.word{text-align:left;white-space:normal;overflow-wrap:anywhere;min-width:6rem}.long{min-width:13rem}\
.held{color:#00693e}.failed{color:#b00020;font-weight:600}\
img{display:block;max-width:100%;height:auto;margin:1rem 0;border:1px solid #eee}\
p{max-width:60rem;overflow-wrap:anywhere}a{color:#0059a8}";

/// Blocks one below another.
#[derive(Default)]
pub(crate) struct Page(Vec<Block>);

enum Block {
    /// A level, and what links to it are called.
    Heading(usize, String, Option<String>),
    Text(Vec<Inline>),
    /// Whether all held.
    Verdict(String, bool),
    List(Vec<String>),
    Table(Table),
    /// A file, and what it shows.
    Picture(String, String),
    /// The text of a TOML file.
    Code(String),
}

/// A part of a paragraph.
pub(crate) enum Inline {
    Words(String),
    /// A file, and the words that lead to it.
    Link(String, &'static str),
}

impl From<String> for Inline {
    fn from(words: String) -> Self {
        Self::Words(words)
    }
}

impl From<&str> for Inline {
    fn from(words: &str) -> Self {
        Self::Words(words.to_owned())
    }
}

impl Page {
    pub(crate) fn heading(&mut self, level: usize, text: &str) {
        self.0.push(Block::Heading(level, text.to_owned(), None));
    }

    /// A heading that a link to `#anchor` leads to.
    pub(crate) fn anchored(&mut self, level: usize, text: &str, anchor: String) {
        self.0.push(Block::Heading(level, text.to_owned(), Some(anchor)));
    }

    pub(crate) fn text(&mut self, parts: impl IntoIterator<Item = Inline>) {
        self.0.push(Block::Text(parts.into_iter().collect()));
    }

    pub(crate) fn verdict(&mut self, text: &str, has_held: bool) {
        self.0.push(Block::Verdict(text.to_owned(), has_held));
    }

    /// Nothing if there are no items.
    pub(crate) fn list(&mut self, items: &[String]) {
        if !items.is_empty() {
            self.0.push(Block::List(items.to_vec()));
        }
    }

    pub(crate) fn table(&mut self, table: Table) {
        self.0.push(Block::Table(table));
    }

    pub(crate) fn picture(&mut self, file: String, words: String) {
        self.0.push(Block::Picture(file, words));
    }

    pub(crate) fn code(&mut self, text: &str) {
        self.0.push(Block::Code(text.to_owned()));
    }

    pub(crate) fn to_markdown(&self) -> String {
        self.0.iter().map(Block::markdown).collect::<Vec<_>>().join("\n")
    }

    pub(crate) fn to_html(&self, title: &str) -> String {
        let blocks: String = self.0.iter().map(Block::html).collect();
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
             </head>\n<body>\n{blocks}</body>\n</html>\n",
            escape::html(title),
        )
    }
}

impl Block {
    fn markdown(&self) -> String {
        let plain = escape::markdown;
        match self {
            Self::Heading(level, text, _) => format!("{} {}\n", "#".repeat(*level), plain(text)),
            Self::Text(parts) => {
                let part = |part: &Inline| match part {
                    Inline::Words(words) => plain(words),
                    Inline::Link(file, words) => format!("[{words}]({})", address(file)),
                };
                parts.iter().map(part).collect::<String>() + "\n"
            }
            Self::Verdict(text, _) => format!("{}\n", plain(text)),
            Self::List(items) => items.iter().map(|item| format!("- {}\n", plain(item))).collect(),
            Self::Table(table) => table.to_markdown(),
            Self::Picture(file, words) => format!("![{}]({})\n", plain(words), address(file)),
            Self::Code(text) => fenced(text),
        }
    }

    fn html(&self) -> String {
        let plain = escape::html;
        match self {
            Self::Heading(level, text, anchor) => {
                let id = anchor.as_ref().map_or(String::new(), |anchor| format!(" id=\"{}\"", plain(anchor)));
                format!("<h{level}{id}>{}</h{level}>\n", plain(text))
            }
            Self::Text(parts) => {
                let part = |part: &Inline| match part {
                    Inline::Words(words) => plain(words),
                    Inline::Link(file, words) => format!("<a href=\"./{}\">{}</a>", address(file), plain(words)),
                };
                format!("<p>{}</p>\n", parts.iter().map(part).collect::<String>())
            }
            Self::Verdict(text, has_held) => {
                format!("<p class=\"{}\">{}</p>\n", if *has_held { "held" } else { "failed" }, plain(text))
            }
            Self::List(items) => {
                let items: String = items.iter().map(|item| format!("<li>{}</li>", plain(item))).collect();
                format!("<ul>{items}</ul>\n")
            }
            Self::Table(table) => table.to_html(),
            Self::Picture(file, words) => {
                let (file, words) = (address(file), plain(words));
                format!("<a href=\"./{file}\"><img loading=\"lazy\" src=\"./{file}\" alt=\"{words}\"></a>\n")
            }
            Self::Code(text) => format!("<pre>{}</pre>\n", text.lines().map(plain).collect::<Vec<_>>().join("\n")),
        }
    }
}

/// Text as it is but for control characters, between fences that do not occur in it.
fn fenced(text: &str) -> String {
    let is_shown = |letter: &char| !letter.is_control() || matches!(letter, '\n' | '\t');
    let text: String = text.chars().filter(is_shown).collect();
    let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}toml\n{}\n{fence}\n", text.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_says_the_same_in_both_forms() {
        let mut page = Page::default();
        page.anchored(2, "a *b*", "s1".to_owned());
        page.text(["see ".into(), Inline::Link("a b.json".to_owned(), "all"), ".".into()]);
        page.verdict("1 of 2 runs FAILED", false);
        page.list(&["<x>".to_owned()]);
        page.list(&[]);
        page.picture("u.svg".to_owned(), "usage".to_owned());
        page.code("a\n```\u{1b}\n");
        let markdown = "## a \\*b\\*\n\nsee [all](a%20b.json).\n\n1 of 2 runs FAILED\n\n- &lt;x&gt;\n\n![usage](u.svg)\n\n\
                        ````toml\na\n```\n````\n";
        assert_eq!(page.to_markdown(), markdown);
        let html = page.to_html("t");
        for part in [
            "<h2 id=\"s1\">a *b*</h2>",
            "<p>see <a href=\"./a%20b.json\">all</a>.</p>",
            "<p class=\"failed\">1 of 2",
            "<ul><li>&lt;x&gt;</li></ul>",
            "src=\"./u.svg\" alt=\"usage\"",
        ] {
            assert!(html.contains(part), "{part:?} is not in {html}");
        }
    }
}
