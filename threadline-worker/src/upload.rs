//! Writing a file into a storage, piece by piece, from blocking code.

use std::io;
use std::mem;

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt, PutMode, PutPayload};
use tokio::runtime::Runtime;

use crate::object::ObjectName;
use crate::storage::{Storage, StorageError};

/// Bytes of a part. All but the last have this length, and S3 takes 10,000 of them: 78 GiB.
const PART_BYTES: usize = 8 << 20;

/// A file on its way into a storage. It is not there before [`finish`](Self::finish); an upload that is dropped leaves a part
/// behind that [`Storage::delete`] removes from a local directory.
///
/// Memory holds one part, which is filled and then sent. What fits into one part goes in one piece.
pub struct Upload<'a> {
    runtime: &'a Runtime,
    storage: &'a Storage,
    name: &'a ObjectName,
    /// Whether a file of that name is left alone.
    keeps: bool,
    parts: Option<Box<dyn MultipartUpload>>,
    filling: Vec<u8>,
}

impl<'a> Upload<'a> {
    /// Begins; nothing is sent yet. `runtime` is where the storage's work is done, while a call of this type's waits for it.
    ///
    /// # Errors
    ///
    /// [`StorageError::Directory`], where the directory cannot be made.
    pub fn begin(
        runtime: &'a Runtime,
        storage: &'a Storage,
        name: &'a ObjectName,
    ) -> Result<Self, StorageError> {
        storage.prepare(name)?;
        Ok(Self { runtime, storage, name, keeps: false, parts: None, filling: Vec::new() })
    }

    /// As [`begin`](Self::begin), of a file that replaces none.
    ///
    /// # Errors
    ///
    /// [`StorageError::Exists`] when there is one of that name; that may also be found by [`finish`](Self::finish), which leaves it
    /// as it is. As [`begin`](Self::begin).
    pub fn begin_new(
        runtime: &'a Runtime,
        storage: &'a Storage,
        name: &'a ObjectName,
    ) -> Result<Self, StorageError> {
        let upload = Self { keeps: true, ..Self::begin(runtime, storage, name)? };
        runtime.block_on(storage.refuse_existing(name))?;
        Ok(upload)
    }

    fn send(&mut self, part: Vec<u8>) -> Result<(), StorageError> {
        let (store, path) = (self.storage.store(), self.storage.path(self.name));
        let parts = &mut self.parts;
        self.runtime.block_on(async {
            let parts = match parts {
                Some(parts) => parts,
                none => none.insert(store.put_multipart(&path).await?),
            };
            Ok(parts.put_part(PutPayload::from_bytes(Bytes::from(part))).await?)
        })
    }

    /// Sends the rest; from then on the file is there.
    ///
    /// # Errors
    ///
    /// [`StorageError::Failed`]; whether the file is there is not known then, so it is to be deleted.
    pub fn finish(mut self) -> Result<(), StorageError> {
        let rest = mem::take(&mut self.filling);
        if self.parts.is_none() {
            let (store, path) = (self.storage.store(), self.storage.path(self.name));
            let mode = if self.keeps { PutMode::Create } else { PutMode::Overwrite };
            let payload = PutPayload::from_bytes(Bytes::from(rest));
            self.runtime.block_on(async {
                match store.put_opts(&path, payload.clone(), mode.into()).await {
                    // Few stores know no condition; that there is none of that name was asked when this began.
                    Err(object_store::Error::NotImplemented { .. }) => store.put(&path, payload).await,
                    put => put,
                }
            })?;
            return Ok(());
        }
        let sent = if rest.is_empty() { Ok(()) } else { self.send(rest) };
        let Some(mut parts) = self.parts.take() else { return sent };
        self.runtime.block_on(async {
            let sent = match sent {
                // A completion takes no condition.
                Ok(()) if self.keeps => self.storage.refuse_existing(self.name).await,
                sent => sent,
            };
            match sent {
                Ok(()) => match parts.complete().await {
                    Ok(_) => Ok(()),
                    Err(error) => Err(error.into()),
                },
                Err(error) => {
                    // The first failure is the one to tell; what stays behind is the deletion's.
                    let _ = parts.abort().await;
                    Err(error)
                }
            }
        })
    }

    /// Gives up, and has the store forget the parts it has taken.
    ///
    /// # Errors
    ///
    /// [`StorageError::Failed`]; [`Storage::delete`] does what can still be done.
    pub fn abort(mut self) -> Result<(), StorageError> {
        match self.parts.take() {
            None => Ok(()),
            Some(mut parts) => Ok(self.runtime.block_on(parts.abort())?),
        }
    }
}

impl io::Write for Upload<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.filling.capacity() == 0 {
            self.filling.reserve_exact(PART_BYTES.min(bytes.len().max(64 << 10)));
        }
        let taken = bytes.len().min(PART_BYTES - self.filling.len());
        self.filling.extend_from_slice(&bytes[..taken]);
        if self.filling.len() == PART_BYTES {
            // The next part's memory only when this one's is free again.
            let part = mem::take(&mut self.filling);
            self.send(part).map_err(io::Error::other)?;
            self.filling.reserve_exact(PART_BYTES);
        }
        Ok(taken)
    }

    /// Does nothing: parts have one length.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
