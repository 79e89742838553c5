//! Tables as text for a terminal, as Markdown and as HTML.

use std::fmt;

use crate::escape;

/// A column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    name: &'static str,
    kind: Kind,
    width: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// Aligned to the right.
    Figure,
    /// Aligned to the left.
    Word,
    /// The same, with more room in HTML.
    Sentence,
}

/// A cell of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cell {
    text: String,
    link: Option<String>,
    has_held: Option<bool>,
}

/// Rows below named columns.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<Cell>>,
}

impl Column {
    /// A column of figures.
    pub const fn figure(name: &'static str) -> Self {
        Self { name, kind: Kind::Figure, width: 0 }
    }

    /// A column of words.
    pub const fn word(name: &'static str) -> Self {
        Self { name, kind: Kind::Word, width: 0 }
    }

    /// A column of sentences.
    pub const fn sentence(name: &'static str) -> Self {
        Self { name, kind: Kind::Sentence, width: 0 }
    }

    /// At least so many letters wide in a terminal.
    #[must_use]
    pub const fn width(self, width: usize) -> Self {
        Self { width, ..self }
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    fn class(&self) -> &'static str {
        match self.kind {
            Kind::Figure => "figure",
            Kind::Word => "word",
            Kind::Sentence => "word long",
        }
    }
}

impl From<String> for Cell {
    fn from(text: String) -> Self {
        Self { text, link: None, has_held: None }
    }
}

impl Cell {
    /// A link to a place, in HTML.
    #[must_use]
    pub fn to(self, address: String) -> Self {
        Self { link: Some(address), ..self }
    }

    /// Coloured as a promise that held, or that did not, in HTML.
    #[must_use]
    pub fn promise(self, has_held: bool) -> Self {
        Self { has_held: Some(has_held), ..self }
    }

    fn html(&self, column: &Column) -> String {
        let mut html = escape::html(&self.text);
        if column.kind == Kind::Figure {
            // A figure in brackets goes on a second line: tables have many columns.
            html = html.replace(" (", "<br>(");
        }
        if let Some(link) = &self.link {
            html = format!("<a href=\"{}\">{html}</a>", escape::html(link));
        }
        let verdict = self.has_held.map_or("", |has_held| if has_held { " held" } else { " failed" });
        format!("<td class=\"{}{verdict}\">{html}</td>", column.class())
    }
}

impl Table {
    /// A table without rows.
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// A table without rows, whose first column has words and whose others have figures.
    pub fn of<const N: usize>(names: [&'static str; N]) -> Self {
        let mut columns = names.map(Column::figure);
        columns[0].kind = Kind::Word;
        Self::new(columns)
    }

    /// Adds a row: a cell for each column.
    pub fn row(&mut self, cells: impl IntoIterator<Item = impl Into<Cell>>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    /// The names of the columns in a line, for a table that is printed row by row.
    pub fn header(&self) -> String {
        self.line(self.columns.iter().map(|column| column.name))
    }

    /// A row in a line below [`header`](Self::header). A column is as wide as its width or its name, and a cell with more
    /// letters moves those behind it.
    pub fn line(&self, cells: impl IntoIterator<Item = impl AsRef<str>>) -> String {
        let cells = self.columns.iter().zip(cells).map(|(column, cell)| {
            let (cell, width) = (cell.as_ref(), column.width.max(column.name.chars().count()));
            if column.kind == Kind::Figure { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        cells.collect::<Vec<_>>().join(" ")
    }

    /// As Markdown.
    pub(crate) fn to_markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let rule = |column: &Column| if column.kind == Kind::Figure { "---:" } else { "---" }.to_owned();
        let mut table = line(self.columns.iter().map(|column| column.name.to_owned()).collect());
        table += &line(self.columns.iter().map(rule).collect());
        for row in &self.rows {
            table += &line(row.iter().map(|cell| escape::markdown(&cell.text)).collect());
        }
        table
    }

    /// As HTML.
    pub(crate) fn to_html(&self) -> String {
        let head = |column: &Column| format!("<th class=\"{}\">{}</th>", column.class(), escape::html(column.name));
        let heads: String = self.columns.iter().map(head).collect();
        let row = |row: &Vec<Cell>| {
            let cells: String = row.iter().zip(&self.columns).map(|(cell, column)| cell.html(column)).collect();
            format!("<tr>{cells}</tr>\n")
        };
        let rows: String = self.rows.iter().map(row).collect();
        format!(
            "<div class=\"wide\"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
        )
    }
}

/// All rows, with columns as wide as they need to be.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fitted = self.clone();
        for (number, column) in fitted.columns.iter_mut().enumerate() {
            let texts = self.rows.iter().map(|row| row[number].text.as_str()).chain([column.name]);
            let widest = texts.map(|text| text.chars().count()).max().unwrap_or(0);
            // Two spaces between columns.
            column.width = if number == 0 { widest } else { widest + 1 };
        }
        writeln!(f, "{}", fitted.header())?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", fitted.line(row.iter().map(|cell| &cell.text))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        let mut table = Table::new([Column::word("who"), Column::figure("s")]);
        table.row(["a|<b>".to_owned(), "1.25 (2 ×)".to_owned()]);
        table
    }

    #[test]
    fn columns_are_aligned_in_a_terminal() {
        assert_eq!(table().to_string(), "who             s\na|<b>  1.25 (2 ×)\n");
        let fixed = Table::new([Column::word("run").width(6), Column::figure("seed").width(5)]);
        assert_eq!((fixed.header(), fixed.line(["a", "12"])), ("run     seed".to_owned(), "a         12".to_owned()));
    }

    #[test]
    fn cells_are_text_in_markdown_and_in_html() {
        assert_eq!(table().to_markdown(), "| who | s |\n| --- | ---: |\n| a\\|&lt;b&gt; | 1.25 (2 ×) |\n");
        let html = table().to_html();
        assert!(html.contains("<td class=\"word\">a|&lt;b&gt;</td><td class=\"figure\">1.25<br>(2 ×)</td>"), "{html}");
        let cell = Cell::from("x".to_owned()).to("#s0".to_owned()).promise(false);
        assert_eq!(cell.html(&Column::word("")), "<td class=\"word failed\"><a href=\"#s0\">x</a></td>");
    }
}
