//! What a command writes to standard output: lines fitted to a terminal for people, documents for programs.

mod changes;
mod listing;
mod rows;
mod style;
mod table;
mod text;
mod values;

use std::fmt::Display;
use std::io::{self, BufWriter, IsTerminal, Write};

use anstream::{AutoStream, ColorChoice};
use serde::Serialize;
use terminal_size::{Width, terminal_size, terminal_size_of};
use threadline::TableHorizon;

pub(crate) use self::changes::{ChangeGroups, key_text, packed, row_changes, when};
pub(crate) use self::listing::Listing;
pub(crate) use self::rows::Rows;
pub(crate) use self::style::{BAD, DIM, GOOD, HEADING, NOTE};
pub(crate) use self::table::Table;
pub(crate) use self::text::{Line, escaped, escaped_toml};
pub(crate) use self::values::image_lines;

/// Of the documents `--json` writes; their schemas are in `schemas/`. Fields may be added without another number.
pub(crate) const FORMAT_VERSION: u32 = 1;

/// How to show the answer.
#[derive(clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct OutputArgs {
    /// Print one JSON document instead
    #[arg(long)]
    json: bool,

    /// Do not shorten what is longer than a line
    #[arg(long)]
    wide: bool,

    /// Fit lines to so many columns, also when not writing to a terminal
    #[arg(long, value_name = "COLUMNS", conflicts_with = "wide", value_parser = clap::value_parser!(u16).range(20..))]
    width: Option<u16>,

    /// When to use colours; `auto` is on a terminal and unless NO_COLOR is set
    #[arg(long, value_name = "WHEN", default_value = "auto")]
    color: clap::ColorChoice,
}

impl OutputArgs {
    /// Opens standard output.
    pub(crate) fn open(&self) -> Output {
        let stdout = io::stdout();
        let color = match self.color {
            clap::ColorChoice::Always => true,
            clap::ColorChoice::Never => false,
            clap::ColorChoice::Auto => AutoStream::choice(&stdout) != ColorChoice::Never,
        };
        let terminal =
            stdout.is_terminal().then(|| terminal_size().map_or(80, |(Width(columns), _)| columns));
        // A program that reads lines wants them whole.
        let width = self.width.or(terminal).filter(|_| !self.wide);
        Output {
            writer: BufWriter::new(Box::new(stdout.lock())),
            width: width.map(|columns| usize::from(columns).max(20)),
            color,
            json: self.json,
            is_terminal: stdout.is_terminal(),
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }
}

/// Standard output, once it is known who reads it.
pub(crate) struct Output {
    writer: BufWriter<Box<dyn Write>>,
    width: Option<usize>,
    color: bool,
    json: bool,
    is_terminal: bool,
}

impl Output {
    /// Standard output for what is the same whoever reads it.
    pub(crate) fn plain() -> Self {
        let stdout = io::stdout();
        let is_terminal = stdout.is_terminal();
        Self {
            writer: BufWriter::new(Box::new(stdout.lock())),
            width: None,
            color: false,
            json: false,
            is_terminal,
        }
    }

    pub(crate) fn is_json(&self) -> bool {
        self.json
    }

    pub(crate) fn is_terminal(&self) -> bool {
        self.is_terminal
    }

    /// Columns to fit into; `None` for any number.
    pub(crate) fn width(&self) -> Option<usize> {
        self.width
    }

    pub(crate) fn line(&mut self, line: &Line) -> io::Result<()> {
        let rendered = line.rendered(self.width, self.color);
        writeln!(self.writer, "{rendered}")
    }

    /// Sentences, broken between words where the line ends, each line behind `indent`.
    pub(crate) fn prose(&mut self, style: anstyle::Style, indent: &str, text: &str) -> io::Result<()> {
        let columns = self.width.unwrap_or(usize::MAX);
        let mut lines = text::wrapped(indent, &escaped(text), columns).into_iter();
        lines.try_for_each(|line| self.line(&Line::new().styled(style, line)))
    }

    /// Text to be copied, such as SQL: its lines whole whatever the width, each behind `indent`, without colours.
    pub(crate) fn verbatim(&mut self, indent: &str, text: &str) -> io::Result<()> {
        text.lines().try_for_each(|line| {
            let line = format!("{indent}{}", escaped(line));
            writeln!(self.writer, "{}", line.trim_end())
        })
    }

    pub(crate) fn blank(&mut self) -> io::Result<()> {
        writeln!(self.writer)
    }

    /// One JSON document, with a version of its shape in front.
    pub(crate) fn document(&mut self, body: &impl Serialize) -> io::Result<()> {
        #[derive(Serialize)]
        struct Document<'a, T> {
            format_version: u32,
            #[serde(flatten)]
            body: &'a T,
        }
        self.json_line(&Document { format_version: FORMAT_VERSION, body })
    }

    /// A value as one line of JSON.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) -> io::Result<()> {
        let json = serde_json::to_string(value).map_err(io::Error::other)?;
        writeln!(self.writer, "{}", text::escaped_json(&json))
    }

    /// JSON text without a line break.
    fn json_part(&mut self, json: &str) -> io::Result<()> {
        self.writer.write_all(text::escaped_json(json).as_bytes())
    }

    pub(crate) fn raw(&mut self) -> &mut impl Write {
        &mut self.writer
    }

    /// What was written so far has gone out. Call it in the end: an error of the last bytes would be lost otherwise.
    pub(crate) fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}

/// A line on standard output, outside any [`Output`].
pub(crate) fn say(text: impl Display) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}

/// A remark on standard error, broken between words where a terminal's line ends. That nobody listens there is no reason to stop.
pub(crate) fn note(text: &str) {
    note_within(None, text);
}

/// As [`note`], where so many columns were asked for.
pub(crate) fn note_within(width: Option<usize>, text: &str) {
    let mut stderr = io::stderr();
    let columns = if let Some(columns) = width {
        columns
    } else if stderr.is_terminal() {
        terminal_size_of(&stderr).map_or(80, |(Width(columns), _)| usize::from(columns)).max(20)
    } else {
        // A program that reads lines wants them whole.
        usize::MAX
    };
    for line in text.lines() {
        let words = line.trim_start();
        let indent = &line[..line.len() - words.len()];
        for line in text::wrapped(indent, &escaped(words), columns) {
            let _ = writeln!(stderr, "{line}");
        }
    }
}

/// Says of which tables changes that were asked for have gone, a few by name.
pub(crate) fn note_removed(horizons: &[TableHorizon]) {
    const NAMED: usize = 5;
    for TableHorizon { table, before, .. } in horizons.iter().take(NAMED) {
        note(&format!("changes of {} before {} were removed by retention", table.to_plain(), when(*before)));
    }
    match horizons.len().saturating_sub(NAMED) {
        0 => {}
        1 => note("and of 1 more table"),
        more => note(&format!("and of {more} more tables")),
    }
}

/// As [`note`], for what the reader should not miss.
pub(crate) fn warn(text: &str) {
    note(&format!("warning: {text}"));
}
