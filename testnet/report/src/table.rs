//! Tables as text for a terminal and as Markdown.

use std::fmt;

use crate::escape;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// The name in the header.
    pub name: &'static str,
    /// Whether the cells are numbers, which are aligned to the right.
    pub is_figure: bool,
    /// The minimum width of the column in a terminal, in characters.
    pub width: usize,
}

/// A table: rows below named columns.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Column {
    /// Returns a column of numbers.
    pub const fn figure(name: &'static str) -> Self {
        Self { name, is_figure: true, width: 0 }
    }

    /// Returns a column of texts.
    pub const fn word(name: &'static str) -> Self {
        Self { name, is_figure: false, width: 0 }
    }

    /// Sets the minimum width of the column in a terminal, in characters.
    #[must_use]
    pub const fn width(self, width: usize) -> Self {
        Self { width, ..self }
    }
}

impl Table {
    /// Returns a table without rows.
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Returns a table without rows. The first column has texts, the other columns have numbers.
    pub fn of<const N: usize>(names: [&'static str; N]) -> Self {
        let mut columns = names.map(Column::figure);
        columns[0].is_figure = false;
        Self::new(columns)
    }

    /// Adds a row, which has one cell for each column.
    pub fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    /// Returns the names of the columns as a line of text, for a table that is printed row by row.
    pub fn header(&self) -> String {
        self.line(self.columns.iter().map(|column| column.name))
    }

    /// Returns the cells of a row as a line of text, aligned with [`header`](Self::header). A cell that is wider than
    /// its column shifts the cells after it.
    pub fn line(&self, cells: impl IntoIterator<Item = impl AsRef<str>>) -> String {
        let cells = self.columns.iter().zip(cells).map(|(column, cell)| {
            let (cell, width) = (cell.as_ref(), column.width.max(column.name.chars().count()));
            if column.is_figure { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        cells.collect::<Vec<_>>().join(" ")
    }

    /// Returns the table as Markdown.
    pub(crate) fn to_markdown(&self) -> String {
        let line = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let rule = |column: &Column| if column.is_figure { "---:" } else { "---" }.to_owned();
        let mut table = line(self.columns.iter().map(|column| column.name.to_owned()).collect());
        table += &line(self.columns.iter().map(rule).collect());
        for row in &self.rows {
            table += &line(row.iter().map(|cell| escape::markdown(cell)).collect());
        }
        table
    }
}

/// Writes the header and all rows, with columns as wide as their widest cell.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fitted = self.clone();
        for (number, column) in fitted.columns.iter_mut().enumerate() {
            let texts = self.rows.iter().map(|row| row[number].as_str()).chain([column.name]);
            let widest = texts.map(|text| text.chars().count()).max().unwrap_or(0);
            // Leave two spaces between columns.
            column.width = if number == 0 { widest } else { widest + 1 };
        }
        writeln!(f, "{}", fitted.header())?;
        self.rows.iter().try_for_each(|row| writeln!(f, "{}", fitted.line(row)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_and_cells_are_escaped() {
        let mut table = Table::of(["run", "s"]);
        table.row(["a|<b>".to_owned(), "1.25 (2 ×)".to_owned()]);
        assert_eq!(table.to_string(), "run             s\na|<b>  1.25 (2 ×)\n");
        assert_eq!(table.to_markdown(), "| run | s |\n| --- | ---: |\n| a\\|&lt;b&gt; | 1.25 (2 ×) |\n");
        let fixed = Table::new([Column::word("run").width(6), Column::figure("seed").width(5)]);
        assert_eq!([fixed.header(), fixed.line(["a", "12"])], ["run     seed", "a         12"]);
    }
}
