//! What commands print: plain aligned text, the same in a pipe.

use std::fmt::Write as _;
use std::io::Write as _;

/// Rows under a head, each column as wide as its widest cell.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

/// The head of a column, and the side that its cells stand on.
#[derive(Clone, Debug)]
pub struct Column {
    head: String,
    right: bool,
}

impl Column {
    /// A column of words.
    pub fn words(head: impl Into<String>) -> Self {
        Self { head: head.into(), right: false }
    }

    /// A column of numbers, whose last digits stand below each other.
    pub fn numbers(head: impl Into<String>) -> Self {
        Self { head: head.into(), right: true }
    }
}

impl Table {
    /// A table without rows yet.
    pub fn new(columns: impl Into<Vec<Column>>) -> Self {
        Self { columns: columns.into(), rows: Vec::new() }
    }

    /// Adds a row; cells that are not given are empty.
    pub fn row(&mut self, cells: impl Into<Vec<String>>) {
        self.rows.push(cells.into());
    }

    /// The text, a line a row; no line ends in spaces.
    pub fn text(&self) -> String {
        let heads: Vec<String> = self.columns.iter().map(|column| column.head.clone()).collect();
        let lines: Vec<&[String]> =
            std::iter::once(&heads).chain(&self.rows).map(Vec::as_slice).collect();
        let width = |at: usize| {
            let cells = lines.iter().filter_map(|line| line.get(at));
            cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.columns.len()).map(width).collect();
        let mut text = String::new();
        for line in lines {
            let mut shown = String::new();
            for ((column, &width), cell) in self.columns.iter().zip(&widths).zip(line) {
                let gap = if shown.is_empty() { "" } else { "  " };
                if column.right {
                    write!(shown, "{gap}{cell:>width$}").ok();
                } else {
                    write!(shown, "{gap}{cell:width$}").ok();
                }
            }
            text += shown.trim_end();
            text.push('\n');
        }
        text
    }
}

/// Prints to standard output. Whoever stops reading (`| head`) wants no more: that is no failure.
pub fn out(text: &str) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).ok();
}

/// Prints an answer's body, ending its last line.
pub fn body(body: &[u8]) {
    let text = String::from_utf8_lossy(body);
    out(&format!("{}\n", text.trim_end()));
}

#[cfg(test)]
mod tests {
    use super::{Column, Table};

    #[test]
    fn words_stand_left_and_numbers_right() {
        let mut table =
            Table::new([Column::words("MODEL"), Column::numbers("N"), Column::words("NOTE")]);
        table.row(["iris".to_owned(), "7".to_owned(), "x".to_owned()]);
        table.row(["a-long-name".to_owned(), "1200".to_owned()]);
        let expected = "MODEL           N  NOTE\niris            7  x\na-long-name  1200\n";
        assert_eq!(table.text(), expected);
    }
}
