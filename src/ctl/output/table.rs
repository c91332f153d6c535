//! Rows of cells: what some replies are by nature. `simple` shows them joined by commas, `table` in a frame.

use std::io::{self, Write};

/// Rows of cells.
#[derive(Clone, Debug, Default)]
pub struct Table {
    /// What the columns are called.
    pub names: &'static [&'static str],
    /// One list of cells a row.
    pub rows: Vec<Vec<String>>,
}

impl Table {
    /// Each row on a line, its cells joined by `, `.
    ///
    /// # Errors
    /// Writing failed.
    pub fn lines(&self, out: &mut dyn Write) -> io::Result<()> {
        for row in &self.rows {
            writeln!(out, "{}", row.join(", "))?;
        }
        Ok(())
    }

    /// The rows in a frame under the names of the columns: names in capitals and centred, cells to the right.
    ///
    /// # Errors
    /// Writing failed.
    pub fn framed(&self, out: &mut dyn Write) -> io::Result<()> {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.chain([self.names[column].chars().count()]).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.names.len()).map(width).collect();
        let line = |left: &str, middle: &str, right: &str| {
            let bars: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
            format!("{left}{}{right}", bars.join(middle))
        };
        writeln!(out, "{}", line("┌", "┬", "┐"))?;
        for (name, width) in self.names.iter().zip(&widths) {
            write!(out, "│ {:^width$} ", name.to_uppercase())?;
        }
        writeln!(out, "│")?;
        if !self.rows.is_empty() {
            writeln!(out, "{}", line("├", "┼", "┤"))?;
        }
        for row in &self.rows {
            for (cell, width) in row.iter().zip(&widths) {
                write!(out, "│ {cell:>width$} ")?;
            }
            writeln!(out, "│")?;
        }
        writeln!(out, "{}", line("└", "┴", "┘"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_fits_its_cells_and_an_empty_one_its_names() -> io::Result<()> {
        let framed = |rows: &[&[&str]]| -> io::Result<String> {
            let rows = rows.iter().map(|row| row.iter().map(|cell| (*cell).to_owned()).collect()).collect();
            let mut out = Vec::new();
            Table { names: &["Name", "Is Learner", "é"], rows }.framed(&mut out)?;
            Ok(String::from_utf8_lossy(&out).into_owned())
        };
        let expected = "\
┌─────────┬────────────┬────┐
│  NAME   │ IS LEARNER │ É  │
├─────────┼────────────┼────┤
│ started │       true │ éé │
│         │            │  a │
└─────────┴────────────┴────┘
";
        assert_eq!(framed(&[&["started", "true", "éé"], &["", "", "a"]])?, expected);
        assert_eq!(framed(&[])?.lines().count(), 3);
        Ok(())
    }
}
