//! Where files are kept: a directory, or a bucket.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
#[cfg(feature = "s3")]
use object_store::signer::{Method, Signer};
use object_store::{GetOptions, ObjectStore, ObjectStoreExt};
use sha2::{Digest, Sha256};
use url::Url;

use crate::object::ObjectName;

/// Why a storage did not do what was asked. None of the messages has a credential in it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The storage's URL is not one of those there are.
    #[error("the storage's url {problem}")]
    InvalidUrl {
        /// What is wrong, and what to do.
        problem: String,
    },
    /// The directory cannot be made or opened.
    #[error("the storage's directory cannot be used")]
    Directory(#[source] std::io::Error),
    /// There is no such file.
    #[error("the storage has no such file")]
    NotFound,
    /// The file is not the one that was written: another length or another digest, or no plain file at all.
    #[error("the storage's file is not what was written")]
    NotWhole,
    /// The storage failed.
    #[error("the storage failed")]
    Failed(#[source] object_store::Error),
}

impl From<object_store::Error> for StorageError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            error => Self::Failed(error),
        }
    }
}

/// A place for files. Clones share it.
///
/// Files are only ever written whole: what is being written has no name yet. A bucket keeps the parts of an upload whose
/// worker died, unseen, until a rule of its own removes them: have it abort incomplete multipart uploads after a day.
#[derive(Clone)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    #[cfg(feature = "s3")]
    signer: Option<Arc<dyn Signer>>,
    prefix: Path,
    /// Of a local directory.
    root: Option<PathBuf>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("local", &self.root.is_some()).finish_non_exhaustive()
    }
}

/// A file as it is read.
pub struct Stored {
    /// Its length in bytes.
    pub bytes: u64,
    /// Its pieces in order; one that cannot be read ends it.
    pub pieces: BoxStream<'static, Result<Bytes, StorageError>>,
}

impl fmt::Debug for Stored {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

impl Storage {
    /// The storage a URL names: `file:///var/lib/threadline`, a directory, made if it is not there and then its owner's alone;
    /// or with the feature `s3` `s3://bucket/prefix`. Credentials are never in a URL: they come from the environment
    /// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT` and the like), or from the machine's role.
    ///
    /// # Errors
    ///
    /// [`StorageError::InvalidUrl`] and [`StorageError::Directory`]. Whether a bucket is there is not asked.
    pub fn from_url(url: &str) -> Result<Self, StorageError> {
        let invalid = |problem: &str| StorageError::InvalidUrl { problem: problem.to_owned() };
        let url = Url::parse(url)
            .map_err(|_| invalid("is no url; write `file:///directory` or `s3://bucket/prefix`"))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(invalid("has credentials in it; give them in the environment"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(invalid("has a `?` or `#` in it; it takes no options"));
        }
        match url.scheme() {
            "file" => {
                let path = url.to_file_path().ok().filter(|path| path.parent().is_some());
                Self::directory(
                    path.ok_or_else(|| invalid("is no directory; write `file:///` and its path"))?,
                )
            }
            "s3" => Self::bucket(&url),
            _ => Err(invalid("is of another kind; there are `file:///directory` and `s3://bucket/prefix`")),
        }
    }

    /// A local directory, made if it is not there.
    ///
    /// # Errors
    ///
    /// [`StorageError::Directory`].
    pub fn directory(path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let path = path.into();
        make_private_directory(&path).map_err(StorageError::Directory)?;
        let root = path.canonicalize().map_err(StorageError::Directory)?;
        // What is recorded as there has to be there after a loss of power.
        let store = LocalFileSystem::new_with_prefix(&root)?.with_fsync(true);
        Ok(Self { root: Some(root), ..Self::of(Arc::new(store)) })
    }

    #[cfg(feature = "s3")]
    fn bucket(url: &Url) -> Result<Self, StorageError> {
        let invalid = |problem: &str| StorageError::InvalidUrl { problem: problem.to_owned() };
        let bucket = url.host_str().ok_or_else(|| invalid("names no bucket; write `s3://bucket/prefix`"))?;
        let prefix = Path::from_url_path(url.path()).map_err(|_| invalid("has an odd prefix"))?;
        let store = object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket).build()?;
        let store = Arc::new(store);
        let signer: Arc<dyn Signer> = store.clone();
        Ok(Self { signer: Some(signer), prefix, ..Self::of(store) })
    }

    #[cfg(not(feature = "s3"))]
    fn bucket(_: &Url) -> Result<Self, StorageError> {
        let problem =
            "is of S3, and this program was built without it; enable the feature `s3` of `threadline-worker`";
        Err(StorageError::InvalidUrl { problem: problem.to_owned() })
    }

    /// Any other store, such as one of another cloud.
    pub fn of(store: Arc<dyn ObjectStore>) -> Self {
        Self {
            store,
            #[cfg(feature = "s3")]
            signer: None,
            prefix: Path::default(),
            root: None,
        }
    }

    /// With what signs URLs of its files.
    #[cfg(feature = "s3")]
    pub fn with_signer(self, signer: Arc<dyn Signer>) -> Self {
        Self { signer: Some(signer), ..self }
    }

    /// A URL from which anybody can read the file for so long; `None` where the store has no such thing, as a directory has not.
    ///
    /// # Errors
    ///
    /// [`StorageError::Failed`], as without credentials.
    pub async fn signed_url(&self, name: &ObjectName, valid: Duration) -> Result<Option<Url>, StorageError> {
        #[cfg(feature = "s3")]
        if let Some(signer) = &self.signer {
            return Ok(Some(signer.signed_url(Method::GET, &self.path(name), valid).await?));
        }
        // Without the feature nothing here signs.
        let _ = (name, valid);
        Ok(None)
    }

    /// Reads a file, piece by piece.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotFound`]; [`StorageError::NotWhole`] for what is no plain file, as a link out of the directory.
    pub async fn open(&self, name: &ObjectName) -> Result<Stored, StorageError> {
        self.refuse_links(name)?;
        let found = self.store.get_opts(&self.path(name), GetOptions::default()).await?;
        Ok(Stored { bytes: found.meta.size, pieces: found.into_stream().map_err(StorageError::from).boxed() })
    }

    /// Reads a file and compares: it is all there, and nothing else.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotWhole`] when it is not, and as [`open`](Self::open).
    pub async fn verify(&self, name: &ObjectName, bytes: u64, sha256: &str) -> Result<(), StorageError> {
        let mut stored = self.open(name).await?;
        if stored.bytes != bytes {
            return Err(StorageError::NotWhole);
        }
        let (mut digest, mut read) = (Sha256::new(), 0);
        while let Some(piece) = stored.pieces.try_next().await? {
            digest.update(&piece);
            read += piece.len() as u64;
        }
        let is_same = digest.finalize().iter().map(|byte| format!("{byte:02x}")).eq(hex_pairs(sha256));
        if read == bytes && is_same { Ok(()) } else { Err(StorageError::NotWhole) }
    }

    /// Removes a file, and of a local directory what a writer of it left unfinished. That there is none is no error.
    ///
    /// # Errors
    ///
    /// [`StorageError::Failed`] and [`StorageError::Directory`]; then it may still be there.
    pub async fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.remove_unfinished(name).map_err(StorageError::Directory)?;
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn store(&self) -> &dyn ObjectStore {
        &*self.store
    }

    pub(crate) fn path(&self, name: &ObjectName) -> Path {
        name.below(&self.prefix)
    }

    /// Makes the directories a file is to be in, for their owner alone.
    pub(crate) fn prepare(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.refuse_links(name)?;
        match self.local_path(name).as_deref().and_then(std::path::Path::parent) {
            Some(parent) => make_private_directory(parent).map_err(StorageError::Directory),
            None => Ok(()),
        }
    }

    fn local_path(&self, name: &ObjectName) -> Option<PathBuf> {
        self.root
            .as_ref()
            .map(|root| name.as_str().split('/').fold(root.clone(), |path, part| path.join(part)))
    }

    /// Nothing below the root is a link: it would lead out of the storage.
    fn refuse_links(&self, name: &ObjectName) -> Result<(), StorageError> {
        let Some(mut path) = self.root.clone() else { return Ok(()) };
        for part in name.as_str().split('/') {
            path.push(part);
            match path.symlink_metadata() {
                Ok(found) if found.is_symlink() => return Err(StorageError::NotWhole),
                _ => {}
            }
        }
        Ok(())
    }

    /// `LocalFileSystem` writes `name#1`, `name#2` and so on before it renames.
    fn remove_unfinished(&self, name: &ObjectName) -> std::io::Result<()> {
        let Some(path) = self.local_path(name) else { return Ok(()) };
        for number in 1_u32.. {
            let mut unfinished = path.clone().into_os_string();
            unfinished.push(format!("#{number}"));
            match std::fs::remove_file(unfinished) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

fn hex_pairs(digits: &str) -> impl Iterator<Item = String> + '_ {
    digits.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned())
}

fn make_private_directory(path: &std::path::Path) -> std::io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(all(test, feature = "s3"))]
mod tests {
    use super::*;

    #[test]
    fn bucket_signs_urls_below_its_prefix_and_shows_no_secret() {
        let store = object_store::aws::AmazonS3Builder::new()
            .with_bucket_name("exports-of-ours")
            .with_region("eu-central-1")
            .with_access_key_id("AKIDEXAMPLE")
            .with_secret_access_key("very-secret")
            .build()
            .unwrap();
        let store = Arc::new(store);
        let storage =
            Storage { prefix: Path::from("blog/audit"), ..Storage::of(store.clone()).with_signer(store) };
        let name: ObjectName = "exports/0197f2c4.1.csv".parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let url = runtime.block_on(storage.signed_url(&name, Duration::from_secs(60))).unwrap().unwrap();
        assert!(url.path().ends_with("/blog/audit/exports/0197f2c4.1.csv"), "{url}");
        let query: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let of =
            |wanted: &str| query.iter().find(|(name, _)| name == wanted).map(|(_, value)| value.as_str());
        assert_eq!(of("X-Amz-Expires"), Some("60"));
        assert!(of("X-Amz-Signature").is_some_and(|signature| signature.len() == 64));
        assert!(!url.as_str().contains("very-secret") && !format!("{storage:?}").contains("very-secret"));
    }

    #[test]
    fn url_of_a_bucket_names_bucket_and_prefix_and_nothing_else() {
        assert_eq!(Storage::from_url("s3://bucket/a/b").unwrap().prefix.as_ref(), "a/b");
        assert_eq!(Storage::from_url("s3://bucket").unwrap().prefix.as_ref(), "");
        for url in ["s3://", "s3:///prefix", "s3://key:very-secret@bucket"] {
            let error = Storage::from_url(url).unwrap_err().to_string();
            assert!(
                error.starts_with("the storage's url ") && !error.contains("very-secret"),
                "{url}: {error}"
            );
        }
    }
}
