//! The archive of retention in a storage, beside the exports.

use std::io::{self, Read};
use std::sync::Arc;

use threadline::retention::Archive;
use tokio::runtime::Runtime;

use crate::object::ObjectName;
use crate::reader::{StoredReader, runtime, told};
use crate::storage::{Storage, StorageError};
use crate::upload::Upload;

/// What the names in the storage begin with.
const PREFIX: &str = "archive";

/// An [`Archive`] in a [`Storage`]: month `2025_01` is below `archive/2025_01/`. Databases may share it. In a local directory that is what a
/// [`LocalArchive`](threadline::retention::LocalArchive) in its `archive` has, too.
///
/// It does its work on the thread that calls it, which must not be one of an asynchronous runtime.
///
/// ```
/// use std::io::Read;
///
/// use threadline::retention::Archive;
/// use threadline_worker::{Storage, StorageArchive};
///
/// let directory = std::env::temp_dir().join(format!("threadline-archive-{}", std::process::id()));
/// let mut archive = StorageArchive::new(Storage::create_directory(&directory)?)?;
/// archive.store("2025_01/manifest.json", &mut &b"{}"[..])?;
/// let mut text = String::new();
/// archive.open("2025_01/manifest.json")?.read_to_string(&mut text)?;
/// assert_eq!((text.as_str(), archive.size("2025_01/manifest.json")?), ("{}", Some(2)));
/// # std::fs::remove_dir_all(directory)?;
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct StorageArchive {
    storage: Storage,
    runtime: Arc<Runtime>,
}

impl StorageArchive {
    /// In this storage.
    ///
    /// # Errors
    ///
    /// When the system has nothing left to wait with.
    pub fn new(storage: Storage) -> io::Result<Self> {
        Ok(Self { storage, runtime: Arc::new(runtime()?) })
    }
}

fn named(object: &str) -> io::Result<ObjectName> {
    format!("{PREFIX}/{object}").parse().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
}

impl Archive for StorageArchive {
    fn store(&mut self, name: &str, content: &mut dyn Read) -> io::Result<()> {
        let name = named(name)?;
        let mut upload = Upload::begin_new(&self.runtime, &self.storage, &name).map_err(told)?;
        if let Err(error) = io::copy(content, &mut upload) {
            // The first failure is the one to tell; so far the storage has no file of that name from us.
            let _ = upload.abort();
            return Err(error);
        }
        upload.finish().map_err(|error| {
            // It may be there all the same, and nobody has read it back: its rows stay in the database, and are written again. What
            // was there before is not ours.
            if !matches!(error, StorageError::Exists) {
                let _ = self.runtime.block_on(self.storage.delete(&name));
            }
            told(error)
        })
    }

    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        Ok(Box::new(StoredReader::on(Arc::clone(&self.runtime), &self.storage, &named(name)?)?))
    }

    fn size(&mut self, name: &str) -> io::Result<Option<u64>> {
        self.runtime.block_on(self.storage.size(&named(name)?)).map(Some).map_err(told)
    }
}
