//! Rows as etcdutl prints them.

use std::io::{self, Write};

use serde_json::Value;

use super::arguments::Given;
use super::failure::{Exit, Failure};

/// One row: of each cell what the table, the fields and JSON call it and say.
pub struct Row {
    pub cells: Vec<Cell>,
}

/// A cell of a row.
pub struct Cell {
    /// Of the table's column.
    pub column: &'static str,
    pub field: &'static str,
    pub json: &'static str,
    /// As table and lines show it.
    pub shown: String,
    pub value: Value,
}

/// The formats.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    Simple,
    Fields,
    Json,
    Table,
    Protobuf,
}

impl Format {
    /// The one that was asked for.
    pub fn of(given: &Given) -> Result<Self, Failure> {
        Ok(match given.text("write-out") {
            "simple" => Self::Simple,
            "fields" => Self::Fields,
            "json" => Self::Json,
            "table" => Self::Table,
            "protobuf" => Self::Protobuf,
            _ => return Err(Failure::new(Exit::BadFeature, "unsupported output format")),
        })
    }

    /// Prints a row.
    pub fn print(self, row: &Row) -> Result<(), Failure> {
        let Some(text) = self.text(row) else {
            return Err(Failure::new(Exit::BadFeature, "protobuf not supported as output format"));
        };
        write(text.as_bytes())
    }

    fn text(self, row: &Row) -> Option<String> {
        let cells = &row.cells;
        let shown = || cells.iter().map(|cell| cell.shown.as_str()).collect::<Vec<_>>();
        Some(match self {
            Self::Simple => format!("{}\n", shown().join(", ")),
            Self::Fields => cells.iter().map(|cell| format!("\"{}\" : {}\n", cell.field, plain(&cell.value))).collect(),
            Self::Json => {
                let fields: Vec<String> =
                    cells.iter().map(|cell| format!("\"{}\":{}", cell.json, cell.value)).collect();
                format!("{{{}}}\n", fields.join(","))
            }
            Self::Table => table(cells),
            Self::Protobuf => return None,
        })
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn table(cells: &[Cell]) -> String {
    let widths: Vec<usize> =
        cells.iter().map(|cell| cell.shown.chars().count().max(cell.column.chars().count())).collect();
    let line = |left: &str, middle: &str, right: &str| {
        let bars: Vec<String> = widths.iter().map(|width| "─".repeat(width + 2)).collect();
        format!("{left}{}{right}\n", bars.join(middle))
    };
    let row = |text: &dyn Fn(&Cell, usize) -> String| {
        let texts: Vec<String> = cells.iter().zip(&widths).map(|(cell, width)| text(cell, *width)).collect();
        format!("│ {} │\n", texts.join(" │ "))
    };
    let names = row(&|cell, width| format!("{:^width$}", cell.column.to_uppercase()));
    let values = row(&|cell, width| format!("{:>width$}", cell.shown));
    [line("┌", "┬", "┐"), names, line("├", "┼", "┤"), values, line("└", "┴", "┘")].concat()
}

/// Writes on standard output. Who reads may go away meanwhile.
pub fn write(bytes: &[u8]) -> Result<(), Failure> {
    match io::stdout().write_all(bytes) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::new(Exit::Error, format!("cannot write: {error}")))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::human_bytes;

    /// Recorded from stock etcdutl 3.7.1.
    #[test]
    fn a_row_in_every_format() {
        let cell = |column, field, json, shown: &str, value| Cell { column, field, json, shown: shown.into(), value };
        let row = Row {
            cells: vec![
                cell("hash", "Hash", "hash", "71f61a29", 1_911_953_961_u64.into()),
                cell("revision", "Revision", "revision", "72", 72.into()),
                cell("total keys", "Keys", "totalKey", "39", 39.into()),
                cell("total size", "Size", "totalSize", &human_bytes(139_264), 139_264.into()),
                cell("version", "Version", "version", "3.7.0", "3.7.0".into()),
            ],
        };
        let text = |format: Format| format.text(&row).unwrap_or_default();
        assert_eq!(text(Format::Simple), "71f61a29, 72, 39, 139 kB, 3.7.0\n");
        let json = "{\"hash\":1911953961,\"revision\":72,\"totalKey\":39,\"totalSize\":139264,\"version\":\"3.7.0\"}\n";
        assert_eq!(text(Format::Json), json);
        assert!(text(Format::Fields).ends_with("\"Size\" : 139264\n\"Version\" : 3.7.0\n"));
        let framed = "\
┌──────────┬──────────┬────────────┬────────────┬─────────┐
│   HASH   │ REVISION │ TOTAL KEYS │ TOTAL SIZE │ VERSION │
├──────────┼──────────┼────────────┼────────────┼─────────┤
│ 71f61a29 │       72 │         39 │     139 kB │   3.7.0 │
└──────────┴──────────┴────────────┴────────────┴─────────┘
";
        assert_eq!(text(Format::Table), framed);
    }
}
