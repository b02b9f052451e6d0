//! `threadline retention archives`: what left to the archive, and whether it still has it.

use std::io;

use anyhow::Result;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use threadline::Error;
use threadline::retention::{self, Archive, ArchivedMonth, ArchivedObject};
use threadline_worker::StorageError;

use super::storage_archive;
use crate::Outcome;
use crate::configuration::ConfigArgs;
use crate::database::DatabaseArgs;
use crate::output::{BAD, DIM, GOOD, Line, Output, OutputArgs, Table, note, when};
use crate::progress::Progress;

/// List what is in the archive, by month, as the database remembers it
///
/// With `--verify` every file is read and compared with count and digest that were recorded when its rows left; each that is missing
/// or is another is told, and then the exit code is 1.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Read every file, and compare
    #[arg(long, help_heading = "Execution")]
    verify: bool,

    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document {
    archives: Vec<Listed>,
}

#[derive(Serialize)]
struct Listed {
    #[serde(flatten)]
    month: ArchivedMonth,
    /// Rows, bytes and parts of what is not in the database; of all, when all of it is.
    rows: u64,
    bytes: u64,
    parts: usize,
    /// Whether the archive has what was recorded; `null` without `--verify`.
    sound: Option<bool>,
    /// What is wrong with it, one for each wrong object.
    problems: Vec<String>,
}

impl Listed {
    fn of(month: ArchivedMonth, problems: Option<Vec<String>>) -> Self {
        let needed = || shown(&month);
        let (rows, bytes) =
            (needed().map(ArchivedObject::rows).sum(), needed().map(|object| object.content.bytes).sum());
        let parts = needed().count();
        let sound = problems.as_ref().map(Vec::is_empty);
        Self { rows, bytes, parts, sound, problems: problems.unwrap_or_default(), month }
    }
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    args.config.check()?;
    let mut archive = args
        .verify
        .then(|| args.config.load().and_then(|found| storage_archive(&found.config)))
        .transpose()?;
    let mut conn = args.database.connect()?;
    let progress = Progress::to_terminal("reading the archive");
    let mut archives = Vec::new();
    for month in retention::archives(&mut conn)? {
        let verified = match archive.as_mut() {
            Some(archive) => {
                progress.say(|| format!("reading {}", month.month));
                Some(verify(archive, &month)?)
            }
            None => None,
        };
        archives.push(Listed::of(month, verified));
    }
    progress.end();
    let unsound = archives.iter().any(|listed| listed.sound == Some(false));
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Document { archives })?;
    } else if archives.is_empty() {
        note("nothing has been archived");
    } else {
        print(&mut output, &archives)?;
    }
    output.flush()?;
    Ok(if unsound { Outcome::FoundSomething } else { Outcome::Done })
}

/// What is wrong with what the archive has, object by object; an error when that cannot be told.
fn verify(archive: &mut dyn Archive, month: &ArchivedMonth) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    retention::verify_archive_with(archive, month, &mut |error| {
        problems.push(problem(error)?);
        Ok(())
    })?;
    Ok(problems)
}

/// What is wrong with an object; the error, when it says nothing of the object.
fn problem(error: Error) -> Result<String, Error> {
    match error {
        Error::ArchiveUnsound { .. } => Ok(error.to_string()),
        Error::Archive { object, error } => match (error.kind(), stored(&error)) {
            (io::ErrorKind::NotFound, _) => Ok(format!("archive object `{object}` is not there")),
            (io::ErrorKind::IsADirectory, _) => Ok(format!(
                "archive object `{object}` is a directory: somebody has put it in the place of a file"
            )),
            (_, Some(StorageError::NotRegular)) => Ok(format!(
                "archive object `{object}` is no regular file: somebody has put something else in its place"
            )),
            _ => Err(Error::Archive { object, error }),
        },
        error => Err(error),
    }
}

/// What the storage says, where an error is of it.
fn stored(error: &io::Error) -> Option<&StorageError> {
    error.get_ref().and_then(|error| error.downcast_ref())
}

fn print(output: &mut Output, archives: &[Listed]) -> Result<()> {
    let mut table = Table::new(&["MONTH", "PARTS", "ROWS", "SIZE", "ARCHIVED", "IN DATABASE", "SHA256"]);
    for listed in archives {
        let last = shown(&listed.month).last();
        let sha256 = last.map_or("-", |object| object.content.sha256.get(..12).unwrap_or("-"));
        table.row([
            Line::from(&listed.month.month),
            Line::from(HumanCount(listed.parts as u64).to_string()),
            Line::from(HumanCount(listed.rows).to_string()),
            Line::from(HumanBytes(listed.bytes).to_string()),
            Line::from(last.map_or_else(|| "-".to_owned(), |object| when(object.archived_at))),
            Line::from(match (listed.month.in_database, last) {
                (true, _) if is_returned(&listed.month) => "put back",
                (true, _) if is_whole(&listed.month) => "restored",
                (true, _) => "the rest of it",
                (false, _) => "no",
            }),
            Line::new().styled(DIM, sha256),
        ]);
    }
    table.print(output)?;
    for listed in archives {
        for problem in &listed.problems {
            output.prose(BAD, "", problem)?;
        }
        if listed.sound == Some(true) {
            output.line(&Line::new().styled(GOOD, "sound").plain(format!("  {}", listed.month.month)))?;
        }
    }
    Ok(())
}

/// What the archive alone has; when the database has all of it again, all.
fn shown(month: &ArchivedMonth) -> impl Iterator<Item = &ArchivedObject> {
    let all = is_returned(month);
    month.objects.iter().filter(move |object| all || object.returned_at.is_none())
}

/// Whether all that had left a month that stayed was put back into it.
fn is_returned(month: &ArchivedMonth) -> bool {
    month.objects.iter().all(|object| object.returned_at.is_some())
}

/// Whether it left as a whole, so that what the database has of it was brought back.
fn is_whole(month: &ArchivedMonth) -> bool {
    month.objects.iter().any(|object| object.kind == retention::ArchivedKind::Month)
}
