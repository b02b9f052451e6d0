//! Rows of a table: side by side when they fit, else each on its own with a column a line.

use std::collections::BTreeSet;
use std::io;

use threadline::{PastRow, TableName};

use super::Output;
use super::style::HEADING;
use super::table::Table;
use super::text::Line;
use super::values::{cell, image_lines};
use crate::row::StoredKeys;

/// Prints rows, all of which are in memory.
pub(crate) struct Rows<'a> {
    pub(crate) rows: &'a [PastRow],
    pub(crate) table: &'a TableName,
    pub(crate) keys: &'a StoredKeys,
}

impl Rows<'_> {
    fn key(&self, row: &PastRow) -> String {
        self.keys.text(self.table, &row.row_key)
    }

    pub(crate) fn print(&self, output: &mut Output) -> io::Result<()> {
        let columns: BTreeSet<&String> = self.rows.iter().flat_map(|row| row.image.columns.keys()).collect();
        let header: Vec<&str> =
            std::iter::once("KEY").chain(columns.iter().map(|name| name.as_str())).collect();
        let mut table = Table::new(&header);
        for row in self.rows {
            let cells = columns.iter().map(|column| cell(&row.image, column));
            table.row(std::iter::once(Line::from(self.key(row))).chain(cells));
        }
        if output.width().is_none_or(|columns| table.can_shrink_to(columns, 1)) {
            return table.print_shrunk(output, 1);
        }
        for (place, row) in self.rows.iter().enumerate() {
            if place > 0 {
                output.blank()?;
            }
            output.line(&Line::new().styled(HEADING, self.key(row)))?;
            for line in image_lines(&row.image, 2, output.width()) {
                output.line(&line)?;
            }
        }
        Ok(())
    }
}
