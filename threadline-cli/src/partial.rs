//! A file that appears whole or not at all.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use tempfile::NamedTempFile;

use crate::interrupt::EXIT_CODE;
use crate::output::note;

/// What is to be removed when the user interrupts.
static UNFINISHED: Mutex<Option<PathBuf>> = Mutex::new(None);

/// A file being written under another name beside its place.
pub(crate) struct PartialFile {
    file: NamedTempFile,
    target: PathBuf,
    replace: bool,
}

impl PartialFile {
    /// Begins it. With `replace`, a file that is there stays until the new one is whole.
    pub(crate) fn create(target: &Path, replace: bool) -> Result<Self> {
        let shown = target.display();
        match fs::metadata(target) {
            // Renaming over `/dev/null` would replace it for everybody.
            Ok(metadata) if !metadata.is_file() => {
                bail!("`{shown}` is no regular file; name another one, or write to standard output")
            }
            Ok(_) if !replace => bail!("`{shown}` exists; `--force` replaces it"),
            _ => {}
        }
        let directory = target.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let create =
            || tempfile::Builder::new().prefix(".threadline-").suffix(".partial").tempfile_in(directory);
        let file = create().with_context(|| format!("cannot write into `{}`", directory.display()))?;
        *lock() = Some(file.path().to_owned());
        // Fails when there is a handler already, which does the same.
        let _ = ctrlc::set_handler(|| {
            if let Some(path) = lock().take() {
                let _ = fs::remove_file(path);
                note("interrupted; nothing was written");
            }
            process::exit(EXIT_CODE.into());
        });
        Ok(Self { file, target: target.to_owned(), replace })
    }

    pub(crate) fn as_file(&self) -> &File {
        self.file.as_file()
    }

    /// Puts it into its place, on disk to its last byte.
    pub(crate) fn finish(self) -> Result<()> {
        let place = || format!("cannot write `{}`", self.target.display());
        self.file.as_file().sync_all().with_context(place)?;
        let mut unfinished = lock();
        let target = &self.target;
        let kept = if self.replace { self.file.persist(target) } else { self.file.persist_noclobber(target) };
        *unfinished = None;
        match kept {
            Ok(_) => Ok(()),
            Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("`{}` has come to exist in the meantime; `--force` replaces it", target.display())
            }
            Err(error) => Err(error.error).with_context(|| format!("cannot write `{}`", target.display())),
        }
    }
}

fn lock() -> std::sync::MutexGuard<'static, Option<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}
