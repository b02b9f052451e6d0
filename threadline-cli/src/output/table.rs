//! Tables: a header, a line a row, fitted to the terminal; or, where they do not fit, a record a row.

use std::io;

use super::Output;
use super::style::{DIM, HEADING};
use super::text::Line;

/// What columns of values give way to; below it nobody could tell what was there.
const NARROWEST: usize = 6;
/// Between columns.
const GAP: usize = 2;

/// A table. The cells of its own facts, such as ids and times, are copied by whoever reads them, so they are never shortened.
pub(crate) struct Table {
    rows: Vec<Vec<Line>>,
}

impl Table {
    pub(crate) fn new<N: AsRef<str>>(header: &[N]) -> Self {
        Self { rows: vec![header.iter().map(|name| Line::new().styled(HEADING, name)).collect()] }
    }

    /// Adds a row with a cell for each column of the header.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Line>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether it can be read with the columns behind the first `kept` shortened.
    pub(crate) fn can_shrink_to(&self, columns: usize, kept: usize) -> bool {
        let least = self.widths().into_iter().enumerate().map(|(place, width)| match place < kept {
            true => width,
            false => width.min(NARROWEST * 2),
        });
        total(&least.collect::<Vec<_>>()) <= columns
    }

    /// Prints it, every cell whole: where a line has not the room, each row as a record, a column a line.
    pub(crate) fn print(&self, output: &mut Output) -> io::Result<()> {
        let widths = self.widths();
        match output.width() {
            Some(columns) if total(&widths) > columns => self.print_records(output, columns),
            _ => self.print_lines(output, &widths),
        }
    }

    /// Prints it with the columns behind the first `kept` shortened, the widest first, where a line has not the room.
    pub(crate) fn print_shrunk(&self, output: &mut Output, kept: usize) -> io::Result<()> {
        let mut widths = self.widths();
        if let Some(columns) = output.width() {
            for _ in columns..total(&widths) {
                let shrinking = widths.iter_mut().skip(kept);
                let Some(widest) = shrinking.max().filter(|width| **width > NARROWEST) else { break };
                *widest -= 1;
            }
        }
        self.print_lines(output, &widths)
    }

    fn print_lines(&self, output: &mut Output, widths: &[usize]) -> io::Result<()> {
        for row in &self.rows {
            let mut line = Line::new();
            for (place, (cell, width)) in row.iter().zip(widths).enumerate() {
                line = line
                    .plain(" ".repeat(if place == 0 { 0 } else { GAP }))
                    .and(cell.cut(*width).padded(*width));
            }
            output.line(&line)?;
        }
        Ok(())
    }

    fn print_records(&self, output: &mut Output, columns: usize) -> io::Result<()> {
        let Some((header, rows)) = self.rows.split_first() else { return Ok(()) };
        let label = header.iter().map(Line::width).max().unwrap_or(0) + GAP;
        for (place, row) in rows.iter().enumerate() {
            if place > 0 {
                output.blank()?;
            }
            for (name, cell) in header.iter().zip(row) {
                let name = Line::new().styled(DIM, name.text());
                if label + cell.width() <= columns {
                    output.line(&name.padded(label).and(cell.clone()))?;
                } else {
                    // Longer than the line all the same, but whole.
                    output.line(&name)?;
                    let indent = if cell.width() + GAP <= columns { "  " } else { "" };
                    output.verbatim(indent, &cell.text())?;
                }
            }
        }
        Ok(())
    }

    fn widths(&self) -> Vec<usize> {
        let columns = 0..self.rows[0].len();
        columns.map(|place| self.rows.iter().map(|row| row[place].width()).max().unwrap_or(0)).collect()
    }
}

fn total(widths: &[usize]) -> usize {
    widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)
}
