//! `threadline export`: changes written out whole, to a file or down a pipe.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::ValueEnum;
use indicatif::HumanBytes;
use threadline::{Error, ExportFormat, ExportOptions, ExportSummary, Order};

use crate::Outcome;
use crate::database::TrailArgs;
use crate::filter::FilterArgs;
use crate::output::{Output, note, note_removed, warn};
use crate::partial::PartialFile;
use crate::progress::Progress;

/// Write changes to a file, for spreadsheets, programs, or an auditor
///
/// Everything is read in one snapshot. A file appears under its name when it is whole, readable by its owner only; interrupted or
/// failed, nothing is left. How many changes it has, whether there were more, and its SHA-256 are printed in the end.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline export --table posts --from 2026-01-01 --output posts.csv
  threadline export --actor user:42 --all --output user-42.ndjson --manifest
  threadline export --format ndjson --from 1day | gzip > yesterday.ndjson.gz")]
pub(crate) struct Args {
    #[command(flatten)]
    filter: FilterArgs,

    /// Where to; standard output, which must not be a terminal, when left out
    #[arg(short, long, value_name = "FILE", help_heading = "Export")]
    output: Option<PathBuf>,

    /// In which form, if not the one the file is named for
    #[arg(long, value_name = "FORMAT", help_heading = "Export")]
    format: Option<Format>,

    /// Replace the file if there is one
    #[arg(long, requires = "output", help_heading = "Export")]
    force: bool,

    #[command(flatten)]
    content: ContentArgs,

    /// Also write FILE.manifest.json: what was asked for, what is in it, its digest
    #[arg(long, requires = "output", conflicts_with = "dry_run", help_heading = "Export")]
    manifest: bool,

    /// Only say how many changes there are
    #[arg(long, help_heading = "Export")]
    dry_run: bool,

    /// Print the manifest as JSON; takes `--output`
    #[arg(long, requires = "output", conflicts_with = "dry_run", help_heading = "Export")]
    json: bool,

    #[command(flatten)]
    trail: TrailArgs,
}

/// What is in an export, made now or by a worker.
#[derive(clap::Args)]
#[command(next_help_heading = "Export")]
pub(super) struct ContentArgs {
    /// At most so many changes
    #[arg(long, value_name = "N", default_value_t = ExportOptions::DEFAULT_MAX_ROWS, value_parser = clap::value_parser!(u64).range(1..), conflicts_with = "all")]
    max_rows: u64,

    /// All changes, however many there are
    #[arg(long)]
    all: bool,

    /// From the beginning of the trail on, instead of back from now
    #[arg(long)]
    oldest_first: bool,

    /// Leave CSV cells as they are that a spreadsheet would take for a formula
    #[arg(long)]
    no_formula_guard: bool,
}

impl ContentArgs {
    /// The same as options, in this form.
    pub(super) fn options(&self, format: ExportFormat) -> ExportOptions {
        let options = ExportOptions::new(format).formula_guard(!self.no_formula_guard);
        let options = if self.all { options.unlimited() } else { options.max_rows(self.max_rows) };
        if self.oldest_first { options.order(Order::OldestFirst) } else { options }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Format {
    /// A header and a record a change, lines ending in CR LF
    Csv,
    /// One document
    Json,
    /// One JSON object a line
    Ndjson,
}

impl From<Format> for ExportFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Csv => Self::Csv,
            Format::Json => Self::Json,
            Format::Ndjson => Self::Ndjson,
        }
    }
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let options = args.content.options(args.format()?);
    let target = args.output.as_deref().filter(|path| *path != OsStr::new("-"));
    if target.is_none() && !args.dry_run && io::IsTerminal::is_terminal(&io::stdout()) {
        bail!("an export is not for a terminal; name a file with `--output`, or pipe it to a program");
    }
    let file =
        target.filter(|_| !args.dry_run).map(|path| PartialFile::create(path, args.force)).transpose()?;
    let (mut conn, trail) = args.trail.open()?;
    let filter = &args.filter.filter;
    if args.dry_run {
        let most = if args.content.all {
            u32::MAX
        } else {
            u32::try_from(args.content.max_rows).unwrap_or(u32::MAX)
        };
        let mut output = Output::plain();
        let count = trail.count(&mut conn, filter, most)?;
        output.line(&format!("{count} {}", if count.counted == 1 { "change" } else { "changes" }).into())?;
        output.flush()?;
        note_removed(&trail.removed(&mut conn, filter)?);
        return Ok(Outcome::Done);
    }
    let progress = Progress::to_terminal("exporting");
    let exported = match &file {
        Some(file) => trail.export(&mut conn, filter, &options, Watched::new(file.as_file(), &progress)),
        None => trail.export(&mut conn, filter, &options, Watched::new(io::stdout().lock(), &progress)),
    };
    progress.end();
    let summary = exported.map_err(|error| match error {
        // A closed pipe is told by the cause.
        Error::Export(error) => anyhow::Error::new(error).context("the export could not be written"),
        error => error.into(),
    })?;
    if let Some(file) = file {
        file.finish()?;
    }
    if let Some(path) = target.filter(|_| args.manifest) {
        let mut name = path.to_owned().into_os_string();
        name.push(".manifest.json");
        let manifest = PartialFile::create(name.as_ref(), args.force)?;
        serde_json::to_writer_pretty(manifest.as_file(), &summary)?;
        manifest.finish()?;
    }
    report(args, &summary)?;
    Ok(Outcome::Done)
}

impl Args {
    fn format(&self) -> Result<ExportFormat> {
        if let Some(format) = self.format {
            return Ok(format.into());
        }
        let Some(path) = self.output.as_deref().filter(|path| *path != OsStr::new("-")) else {
            return Ok(ExportFormat::Csv);
        };
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
        let known = [ExportFormat::Csv, ExportFormat::Json, ExportFormat::Ndjson];
        match known.into_iter().find(|format| format.extension() == extension) {
            Some(format) => Ok(format),
            None => {
                bail!("`{}` does not say which form it is to have; name one with `--format`", path.display())
            }
        }
    }
}

/// `1 change`, `7 changes`.
pub(super) fn changes(rows: u64) -> String {
    format!("{rows} {}", if rows == 1 { "change" } else { "changes" })
}

fn report(args: &Args, summary: &ExportSummary) -> Result<()> {
    if args.json {
        let mut output = Output::plain();
        output.json_line(summary)?;
        output.flush()?;
    }
    let bytes = HumanBytes(summary.bytes);
    note(&format!(
        "{}, {bytes}, truncated: {}, sha256 {}",
        changes(summary.rows),
        summary.truncated,
        summary.sha256
    ));
    if summary.truncated {
        warn("there are more changes than these; `--max-rows N` takes more of them, `--all` all");
    }
    note_removed(&summary.removed);
    Ok(())
}

/// A writer that says how much has gone through it.
struct Watched<'a, W> {
    writer: W,
    bytes: u64,
    progress: &'a Progress,
}

impl<'a, W: Write> Watched<'a, W> {
    fn new(writer: W, progress: &'a Progress) -> Self {
        Self { writer, bytes: 0, progress }
    }
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.writer.write(bytes)?;
        self.bytes += written as u64;
        self.progress.say(|| format!("exporting, {}", HumanBytes(self.bytes)));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
