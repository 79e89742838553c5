//! Tables as text for a terminal and as Markdown.

use std::fmt;

use crate::escape;

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub struct Column {
    /// What stands above it.
    pub name: &'static str,
    /// Whether its cells are aligned to the right.
    pub is_figure: bool,
    /// Its least width in a terminal, in letters.
    pub width: usize,
}

/// Rows below named columns.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Column {
    /// A column of figures.
    pub const fn figure(name: &'static str) -> Self {
        Self { name, is_figure: true, width: 0 }
    }

    /// A column of words.
    pub const fn word(name: &'static str) -> Self {
        Self { name, is_figure: false, width: 0 }
    }

    /// At least so many letters wide in a terminal.
    #[must_use]
    pub const fn width(self, width: usize) -> Self {
        Self { width, ..self }
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
        columns[0].is_figure = false;
        Self::new(columns)
    }

    /// Adds a row: a cell for each column.
    pub fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    /// The names of the columns in a line, for a table that is printed row by row.
    pub fn header(&self) -> String {
        self.line(self.columns.iter().map(|column| column.name))
    }

    /// A row in a line below [`header`](Self::header). A cell with more letters than its column is wide moves those behind it.
    pub fn line(&self, cells: impl IntoIterator<Item = impl AsRef<str>>) -> String {
        let cells = self.columns.iter().zip(cells).map(|(column, cell)| {
            let (cell, width) = (cell.as_ref(), column.width.max(column.name.chars().count()));
            if column.is_figure { format!("{cell:>width$}") } else { format!("{cell:width$}") }
        });
        cells.collect::<Vec<_>>().join(" ")
    }

    /// As Markdown.
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

/// All rows, with columns as wide as they need to be.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut fitted = self.clone();
        for (number, column) in fitted.columns.iter_mut().enumerate() {
            let texts = self.rows.iter().map(|row| row[number].as_str()).chain([column.name]);
            let widest = texts.map(|text| text.chars().count()).max().unwrap_or(0);
            // Two spaces between columns.
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
    fn columns_are_aligned_and_cells_are_text() {
        let mut table = Table::of(["who", "s"]);
        table.row(["a|<b>".to_owned(), "1.25 (2 ×)".to_owned()]);
        assert_eq!(table.to_string(), "who             s\na|<b>  1.25 (2 ×)\n");
        assert_eq!(table.to_markdown(), "| who | s |\n| --- | ---: |\n| a\\|&lt;b&gt; | 1.25 (2 ×) |\n");
        let fixed = Table::new([Column::word("run").width(6), Column::figure("seed").width(5)]);
        assert_eq!([fixed.header(), fixed.line(["a", "12"])], ["run     seed", "a         12"]);
    }
}
