//! `threadline exports download`: the file a worker has made.

use std::io::{self, Read, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use indicatif::HumanBytes;
use serde::Serialize;
use sha2::{Digest, Sha256};
use threadline::ExportSummary;
use threadline::exports::{self, Download};
use threadline_worker::{Storage, StoredReader};
use uuid::Uuid;

use super::jobs::{job_id, missing};
use crate::Outcome;
use crate::commands::export::changes;
use crate::configuration::ConfigArgs;
use crate::database::DatabaseArgs;
use crate::output::{OutputArgs, note, note_removed};
use crate::partial::PartialFile;
use crate::progress::Progress;

/// Fetch the file of a job from the storage
///
/// The file appears under its name when it is whole and has the digest that was recorded when it was made, readable by its owner
/// only. Exit code 1 when there is no file yet.
#[derive(clap::Args)]
pub(super) struct Args {
    /// The job
    #[arg(value_parser = job_id)]
    id: Uuid,

    /// Where to
    #[arg(long, value_name = "FILE", help_heading = "Export")]
    output: PathBuf,

    /// Replace the file if there is one
    #[arg(long, help_heading = "Export")]
    force: bool,

    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    how: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

#[derive(Serialize)]
struct Document<'a> {
    job: Uuid,
    summary: &'a ExportSummary,
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    let config = args.config.load()?.config;
    let url = config.storage.url.as_deref();
    let url = url.context("no storage is configured; set `url` in `[storage]` of `threadline.toml`")?;
    let storage = Storage::from_url(url).context(crate::commands::storage::WHERE)?;
    let mut conn = args.database.connect()?;
    let ready = match exports::download_granted(&mut conn, args.id)? {
        Download::Ready(ready) => ready,
        Download::NotReady => {
            note("there is no file yet; a worker has still to make it");
            return Ok(Outcome::FoundSomething);
        }
        Download::Gone => bail!("the file's time is over; queue the export again"),
        Download::NotFound => match exports::find(&mut conn, args.id)? {
            Some(job) => bail!("there is no file: the job is {}", job.state),
            None => bail!(missing(args.id)),
        },
    };
    let stored = StoredReader::open_of(&storage, &ready.object_name.parse()?, ready.summary.bytes);
    let mut stored = stored.with_context(|| {
        format!("cannot read `{}` of `{url}`; is it the storage the worker writes to?", ready.object_name)
    })?;
    let file = PartialFile::create(&args.output, args.force)?;
    let progress = Progress::to_terminal("downloading");
    let (mut digest, mut bytes) = (Sha256::new(), 0_u64);
    let mut piece = vec![0; 64 << 10];
    loop {
        let read = match stored.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error).context("the storage stopped answering; nothing was written"),
        };
        digest.update(&piece[..read]);
        file.as_file().write_all(&piece[..read]).context("the file cannot be written")?;
        bytes += read as u64;
        progress.say(|| format!("downloading, {}", HumanBytes(bytes)));
    }
    progress.end();
    let sha256: String = digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if (bytes, sha256.as_str()) != (ready.summary.bytes, ready.summary.sha256.as_str()) {
        bail!(
            "the storage's file `{}` is not what was made: it has {bytes} bytes with the SHA-256 {sha256}, and {} with {} were made; \
             nothing was written",
            ready.object_name,
            ready.summary.bytes,
            ready.summary.sha256
        );
    }
    file.finish()?;
    let mut output = args.how.open();
    if output.is_json() {
        output.document(&Document { job: ready.job, summary: &ready.summary })?;
        output.flush()?;
    }
    note(&format!("{}, {}, sha256 {sha256}", changes(ready.summary.rows), HumanBytes(bytes)));
    note_removed(&ready.summary.removed);
    Ok(Outcome::Done)
}
