//! Pages, as Markdown or as HTML made from this Markdown. The HTML has no scripts, and loads only the pictures of the
//! report.

use pulldown_cmark::{Options, Parser, html};

use crate::escape::{self, address, markdown};
use crate::table::Table;

const STYLE: &str = "\
body{font:16px/1.5 system-ui,sans-serif;color:#222;background:#fff;margin:2rem auto;max-width:1500px;padding:0 1rem}\
h1,h2,h3,p{overflow-wrap:anywhere}h1,h2,h3{line-height:1.25}p{max-width:60rem}a{color:#0059a8}\
h2{margin-top:3rem;border-top:1px solid #ddd;padding-top:1.5rem}\
table{display:block;overflow-x:auto;border-collapse:collapse;font-size:.85rem}th{background:#f4f4f4}\
th,td{padding:.35rem .6rem;border-bottom:1px solid #ddd;vertical-align:top;min-width:4.5rem;overflow-wrap:anywhere}\
td:nth-child(3),td:nth-child(15){min-width:13rem}strong{color:#b00020}img{max-width:100%;height:auto;margin:1rem 0;border:1px solid #eee}";

/// A page, as a list of paragraphs in Markdown.
#[derive(Default)]
pub(crate) struct Page(Vec<String>);

impl Page {
    pub(crate) fn heading(&mut self, level: usize, text: &str) {
        self.0.push(format!("{} {}\n", "#".repeat(level), markdown(text)));
    }

    /// Adds a heading that is the target of links to `#anchor`.
    pub(crate) fn anchored(&mut self, level: usize, text: &str, anchor: &str) {
        self.0.push(format!("{} {} {{#{anchor}}}\n", "#".repeat(level), markdown(text)));
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.0.push(markdown(text) + "\n");
    }

    /// Adds a paragraph in bold.
    pub(crate) fn warning(&mut self, text: &str) {
        self.0.push(format!("**{}**\n", markdown(text)));
    }

    /// Adds a text that is followed by links. Each link is a pair of its text and its address.
    pub(crate) fn links(&mut self, text: &str, links: &[(&str, String)]) {
        let links: Vec<_> = links.iter().map(|(words, to)| format!("[{}]({to})", markdown(words))).collect();
        self.0.push(format!("{} {}.\n", markdown(text), links.join(", ")));
    }

    /// Adds a heading and a list. Adds nothing if there are no items.
    pub(crate) fn list(&mut self, level: usize, heading: &str, items: &[String]) {
        if !items.is_empty() {
            self.heading(level, heading);
            self.0.push(items.iter().map(|item| format!("- {}\n", markdown(item))).collect());
        }
    }

    pub(crate) fn table(&mut self, table: &Table) {
        self.0.push(table.to_markdown());
    }

    /// Adds a picture with an alternative text. The picture is a link to its file.
    pub(crate) fn picture(&mut self, file: &str, alternative: &str) {
        let file = address(file);
        self.0.push(format!("[![{}]({file})]({file})\n", markdown(alternative)));
    }

    /// Adds the text of a TOML file as a code block, without control characters. The fence is longer than any fence in
    /// the text, so that the text cannot end the code block.
    pub(crate) fn code(&mut self, text: &str) {
        let is_shown = |letter: &char| !letter.is_control() || matches!(letter, '\n' | '\t');
        let text: String = text.chars().filter(is_shown).collect();
        let longest = text.split(|letter| letter != '`').map(str::len).max().unwrap_or(0);
        let fence = "`".repeat(longest.max(2) + 1);
        self.0.push(format!("{fence}toml\n{}\n{fence}\n", text.trim_end()));
    }

    pub(crate) fn to_markdown(&self) -> String {
        self.0.join("\n")
    }

    pub(crate) fn to_html(&self, title: &str) -> String {
        let (text, mut body) = (self.to_markdown(), String::new());
        html::push_html(&mut body, Parser::new_ext(&text, Options::ENABLE_TABLES | Options::ENABLE_HEADING_ATTRIBUTES));
        format!(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
             <meta name=\"viewport\" content=\"width=device-width\">\n<title>{}</title>\n<style>{STYLE}</style>\n\
             </head>\n<body>\n{}</body>\n</html>\n",
            escape::html(title),
            body.replace("<img ", "<img loading=\"lazy\" "),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_the_same_content_as_markdown_and_html() {
        let mut page = Page::default();
        page.anchored(2, "a *b*", "s1");
        page.warning("1 of 2 runs FAILED");
        page.links("See", &[("all", "a%20b.json".to_owned())]);
        page.list(3, "Items", &["<x>".to_owned()]);
        page.list(3, "Nothing", &[]);
        page.picture("u v.svg", "usage");
        page.code("a\n```\u{1b}\n");
        let text = "## a \\*b\\* {#s1}\n\n**1 of 2 runs FAILED**\n\nSee [all](a%20b.json).\n\n### Items\n\n- &lt;x&gt;\n\n\
                    [![usage](u%20v.svg)](u%20v.svg)\n\n````toml\na\n```\n````\n";
        assert_eq!(page.to_markdown(), text);
        let html = page.to_html("t");
        for part in [
            "<h2 id=\"s1\">a *b*</h2>",
            "<p>See <a href=\"a%20b.json\">all</a>.</p>",
            "<strong>1 of 2 runs FAILED</strong>",
            "<li>&lt;x&gt;</li>",
            "<a href=\"u%20v.svg\"><img loading=\"lazy\" src=\"u%20v.svg\" alt=\"usage\" /></a>",
        ] {
            assert!(html.contains(part), "{part:?} is not in {html}");
        }
    }
}
