//! Tables: a header, a line a row, fitted to the terminal.

use std::io;

use super::Output;
use super::style::HEADING;
use super::text::Line;

/// What columns give way to; below it nobody could tell what was there.
const NARROWEST: usize = 6;
/// Between columns.
const GAP: usize = 2;

/// A table whose widest columns give way when the terminal is too narrow, but for the first ones: times and ids are copied.
pub(crate) struct Table {
    /// So many columns in front are never shortened.
    kept: usize,
    rows: Vec<Vec<Line>>,
}

impl Table {
    pub(crate) fn new<N: AsRef<str>>(header: &[N], kept: usize) -> Self {
        Self { kept, rows: vec![header.iter().map(|name| Line::new().styled(HEADING, name)).collect()] }
    }

    /// Adds a row with a cell for each column of the header.
    pub(crate) fn row(&mut self, cells: impl IntoIterator<Item = Line>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// What it needs at least to be read.
    pub(crate) fn least_width(&self) -> usize {
        let widths = self.widths();
        let least = widths.iter().enumerate().map(|(place, width)| match place < self.kept {
            true => *width,
            false => (*width).min(NARROWEST * 2),
        });
        least.sum::<usize>() + GAP * widths.len().saturating_sub(1)
    }

    /// Prints it.
    pub(crate) fn print(&self, output: &mut Output) -> io::Result<()> {
        let mut widths = self.widths();
        if let Some(columns) = output.width() {
            let mut over =
                (widths.iter().sum::<usize>() + GAP * widths.len().saturating_sub(1)).saturating_sub(columns);
            while over > 0 {
                let shrinking = widths.iter_mut().skip(self.kept);
                let Some(widest) = shrinking.max().filter(|width| **width > NARROWEST) else { break };
                *widest -= 1;
                over -= 1;
            }
        }
        for row in &self.rows {
            let mut line = Line::new();
            for (place, (cell, width)) in row.iter().zip(&widths).enumerate() {
                line = line
                    .plain(" ".repeat(if place == 0 { 0 } else { GAP }))
                    .and(cell.cut(*width).padded(*width));
            }
            output.line(&line)?;
        }
        Ok(())
    }

    fn widths(&self) -> Vec<usize> {
        let columns = 0..self.rows[0].len();
        columns.map(|place| self.rows.iter().map(|row| row[place].width()).max().unwrap_or(0)).collect()
    }
}
