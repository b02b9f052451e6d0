//! What a person reads: columns of text.

/// Lines of cells; the first is the head. The first column is aligned left, numbers right.
pub(crate) struct Table(Vec<Vec<String>>);

impl Table {
    pub(crate) fn new(head: &[&str]) -> Self {
        Self(vec![head.iter().map(|&cell| cell.to_owned()).collect()])
    }

    pub(crate) fn push(&mut self, line: Vec<String>) {
        self.0.push(line);
    }

    /// Each line without trailing blanks; no line break at the end.
    pub(crate) fn render(&self) -> String {
        let width = |column: usize| {
            self.0
                .iter()
                .filter_map(|line| line.get(column))
                .map(|cell| cell.chars().count())
                .max()
                .unwrap_or(0)
        };
        let lines: Vec<String> = self
            .0
            .iter()
            .map(|line| {
                let cells: Vec<String> = line
                    .iter()
                    .enumerate()
                    .map(|(column, cell)| match column {
                        0 => format!("{cell:<w$}", w = width(column)),
                        _ => format!("{cell:>w$}", w = width(column)),
                    })
                    .collect();
                cells.join("  ").trim_end().to_owned()
            })
            .collect();
        lines.join("\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_under_each_other() {
        let mut table = Table::new(&["what", "µs"]);
        table.push(vec!["bulk insert".to_owned(), "3.5".to_owned()]);
        table.push(vec!["x".to_owned(), "12.5".to_owned()]);
        assert_eq!(table.render(), "what           µs\nbulk insert   3.5\nx            12.5");
    }
}
