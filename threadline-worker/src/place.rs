//! Where a worker's files go, which may not be there yet.

use std::sync::{Arc, OnceLock};

use crate::storage::{Storage, StorageError};

/// A storage, or the URL of one: that is opened when it is needed, and tried again until it can be.
#[derive(Clone, Debug)]
pub(crate) struct StoragePlace {
    url: String,
    open: Arc<OnceLock<Storage>>,
}

/// A storage that is named in the configuration and cannot be used. The message names the key.
#[derive(Debug, thiserror::Error)]
#[error("`url` of `[storage]`: {}", .0.told())]
pub(crate) struct Unusable(StorageError);

impl StoragePlace {
    pub(crate) fn of(storage: Storage) -> Self {
        Self { url: String::new(), open: Arc::new(OnceLock::from(storage)) }
    }

    pub(crate) fn at(url: String) -> Self {
        Self { url, open: Arc::new(OnceLock::new()) }
    }

    /// The storage, if it can be used now.
    pub(crate) fn get(&self) -> Result<Storage, Unusable> {
        let storage = match self.open.get() {
            Some(storage) => storage.clone(),
            None => {
                let storage = Storage::from_url(&self.url).map_err(Unusable)?;
                self.open.get_or_init(|| storage).clone()
            }
        };
        storage.refuse_absent().map_err(Unusable)?;
        Ok(storage)
    }
}
