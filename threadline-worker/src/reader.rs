//! Reading a file of a storage from blocking code.

use std::fmt;
use std::io::{self, Read};
use std::sync::Arc;

use bytes::Bytes;
use futures_util::TryStreamExt;
use futures_util::stream::BoxStream;
use tokio::runtime::{Builder, Runtime};

use crate::object::ObjectName;
use crate::storage::{Storage, StorageError, Stored};

/// A file of a storage, read from blocking code; not on a thread of an asynchronous runtime. Memory holds one piece.
pub struct StoredReader {
    runtime: Arc<Runtime>,
    bytes: u64,
    pieces: BoxStream<'static, Result<Bytes, StorageError>>,
    piece: Bytes,
}

impl fmt::Debug for StoredReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredReader").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl StoredReader {
    /// Begins to read.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::NotFound`] when there is no such file; otherwise with a [`StorageError`] as its cause.
    pub fn open(storage: &Storage, name: &ObjectName) -> io::Result<Self> {
        Self::on(Arc::new(runtime()?), storage, name)
    }

    /// Begins to read a file that has to have so many bytes, as [`Storage::open_of`] does.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open), and when it has another length.
    pub fn open_of(storage: &Storage, name: &ObjectName, bytes: u64) -> io::Result<Self> {
        let runtime = Arc::new(runtime()?);
        let stored = runtime.block_on(storage.open_of(name, bytes)).map_err(told)?;
        Ok(Self::of(runtime, stored))
    }

    pub(crate) fn on(runtime: Arc<Runtime>, storage: &Storage, name: &ObjectName) -> io::Result<Self> {
        let stored = runtime.block_on(storage.open(name)).map_err(told)?;
        Ok(Self::of(runtime, stored))
    }

    fn of(runtime: Arc<Runtime>, stored: Stored) -> Self {
        Self { runtime, bytes: stored.bytes, pieces: stored.pieces, piece: Bytes::new() }
    }

    /// How long the file is.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Read for StoredReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.runtime.block_on(self.pieces.try_next()).map_err(told)? {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let taken = self.piece.split_to(buffer.len().min(self.piece.len()));
        buffer[..taken.len()].copy_from_slice(&taken);
        Ok(taken.len())
    }
}

/// For the storage, whose work is done on the thread that waits for it.
pub(crate) fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_all().max_blocking_threads(2).build()
}

pub(crate) fn told(error: StorageError) -> io::Error {
    match error {
        StorageError::NotFound => io::Error::new(io::ErrorKind::NotFound, error),
        StorageError::Exists => io::Error::new(io::ErrorKind::AlreadyExists, error),
        StorageError::IsDirectory => io::Error::new(io::ErrorKind::IsADirectory, error),
        error => io::Error::other(error),
    }
}
