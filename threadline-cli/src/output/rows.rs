//! Rows of a table: side by side when they fit, else each on its own with a column a line.

use std::collections::BTreeSet;
use std::io;

use threadline::PastRow;

use super::Output;
use super::style::HEADING;
use super::table::Table;
use super::text::Line;
use super::values::{cell, image_lines};

/// Prints rows, all of which are in memory.
pub(crate) struct Rows<'a>(pub(crate) &'a [PastRow]);

impl Rows<'_> {
    pub(crate) fn print(&self, output: &mut Output) -> io::Result<()> {
        let columns: BTreeSet<&String> = self.0.iter().flat_map(|row| row.image.columns.keys()).collect();
        let header: Vec<&str> =
            std::iter::once("KEY").chain(columns.iter().map(|name| name.as_str())).collect();
        let mut table = Table::new(&header, 1);
        for row in self.0 {
            let cells = columns.iter().map(|column| cell(&row.image, column));
            table.row(std::iter::once(Line::from(&row.row_key)).chain(cells));
        }
        if output.width().is_none_or(|columns| table.least_width() <= columns) {
            return table.print(output);
        }
        for (place, row) in self.0.iter().enumerate() {
            if place > 0 {
                output.blank()?;
            }
            output.line(&Line::new().styled(HEADING, &row.row_key))?;
            for line in image_lines(&row.image, 2, output.width()) {
                output.line(&line)?;
            }
        }
        Ok(())
    }
}
