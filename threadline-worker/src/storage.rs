//! Where files are kept: a directory, or a bucket.

use std::fmt;
use std::fs::File;
use std::io::{self, Write as _};
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
use uuid::Uuid;

use crate::object::ObjectName;

/// The file that makes a directory a storage. No object has such a name.
const MARK: &str = ".threadline-storage";
const MARKED: &str = "Threadline keeps exports and archives in this directory. Without this file it takes the directory for an absent \
                      mount, and leaves it alone.\n";

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
    /// The directory is not there, or has not been made a storage: what belongs there may not be mounted.
    #[error("the storage's directory `{}` {problem}", path.display())]
    NotReady {
        /// The directory.
        path: PathBuf,
        /// What is wrong, and what to do.
        problem: &'static str,
    },
    /// The directory cannot be made, read or written.
    #[error("the storage's directory `{}` cannot be used", path.display())]
    Directory {
        /// The directory, or one in it.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// There is no such file.
    #[error("the storage has no such file")]
    NotFound,
    /// The file is not the one that was written: another length or another digest.
    #[error("the storage's file is not what was written")]
    NotWhole,
    /// The file is longer or shorter than the one that was written; nothing more of it is read.
    #[error("the storage's file `{object}` has {found} bytes{}, and {expected} were written", if *at_least { " or more" } else { "" })]
    OtherLength {
        /// Its name in the storage.
        object: String,
        /// How long it is, in bytes.
        found: u64,
        /// How long it was.
        expected: u64,
        /// Whether it is longer than `found`: reading has ended there.
        at_least: bool,
    },
    /// There is a file of that name, and it was not to be replaced.
    #[error("the storage has a file of that name, which is never replaced")]
    Exists,
    /// What stands there in a local directory, or on the way, is a link, a pipe, or something else that no storage has written.
    #[error("the storage's file is no regular file: somebody has put something else in its place")]
    NotRegular,
    /// A directory stands in a local directory where a file belongs.
    #[error("the storage has a directory where its file belongs: somebody has put it in its place")]
    IsDirectory,
    /// The store refuses the credentials. What it answers is left out: stores quote what they were sent.
    #[error(
        "the storage refuses the credentials; check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, and that they may read, write and \
         delete below the storage's url"
    )]
    Denied,
    /// The storage failed.
    #[error("the storage failed")]
    Failed(#[source] object_store::Error),
}

impl StorageError {
    fn directory(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        |source| Self::Directory { path, source }
    }

    /// It and its causes, none of which has a value of a row in it.
    pub(crate) fn told(&self) -> String {
        let mut text = self.to_string();
        let mut cause = std::error::Error::source(self);
        while let Some(error) = cause {
            let said = error.to_string();
            // Many of `object_store` say their cause themselves.
            if !text.contains(&said) {
                text.push_str(": ");
                text.push_str(&said);
            }
            cause = error.source();
        }
        text
    }
}

impl From<object_store::Error> for StorageError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            object_store::Error::AlreadyExists { .. } => Self::Exists,
            object_store::Error::Unauthenticated { .. } | object_store::Error::PermissionDenied { .. } => {
                Self::Denied
            }
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
    /// The storage a URL names: `file:///var/lib/threadline`, a directory that [`create`](Self::create) has made one; or with the
    /// feature `s3` `s3://bucket/prefix`. Credentials are never in a URL: they come from the environment
    /// (`AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_REGION`, `AWS_ENDPOINT` and the like), or from the machine's role.
    ///
    /// # Errors
    ///
    /// [`StorageError::InvalidUrl`], [`StorageError::NotReady`] and [`StorageError::Directory`]. Whether a bucket is there is not
    /// asked.
    pub fn from_url(url: &str) -> Result<Self, StorageError> {
        Self::at(url, Self::directory)
    }

    /// As [`from_url`](Self::from_url), and makes a directory a storage if it is none; to be called once, by whoever knows that
    /// what belongs there is mounted. A bucket is made with the means of its store.
    ///
    /// # Errors
    ///
    /// As [`from_url`](Self::from_url).
    pub fn create(url: &str) -> Result<Self, StorageError> {
        Self::at(url, Self::create_directory)
    }

    fn at(url: &str, open: impl FnOnce(PathBuf) -> Result<Self, StorageError>) -> Result<Self, StorageError> {
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
                open(path.ok_or_else(|| invalid("is no directory; write `file:///` and its path"))?)
            }
            "s3" => Self::bucket(&url),
            _ => Err(invalid("is of another kind; there are `file:///directory` and `s3://bucket/prefix`")),
        }
    }

    /// A local directory that [`create_directory`](Self::create_directory) has made a storage. It has a file
    /// `.threadline-storage`, and that is looked for at each access: the directory in which a volume is not mounted is never taken
    /// for an empty storage.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotReady`] and [`StorageError::Directory`].
    pub fn directory(path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let path = path.into();
        refuse_unmarked(&path)?;
        let root = path.canonicalize().map_err(StorageError::directory(&path))?;
        // What is recorded as there has to be there after a loss of power.
        let store = LocalFileSystem::new_with_prefix(&root)?.with_fsync(true);
        Ok(Self { root: Some(root), ..Self::of(Arc::new(store)) })
    }

    /// Makes a local directory a storage, with the directories above it, for its owner alone if it is not there. One that is a
    /// storage already stays as it is.
    ///
    /// # Errors
    ///
    /// [`StorageError::NotReady`] and [`StorageError::Directory`].
    pub fn create_directory(path: impl Into<PathBuf>) -> Result<Self, StorageError> {
        let path = path.into();
        make_private_directory(&path)?;
        match File::create_new(path.join(MARK)) {
            Ok(mut mark) => {
                mark.write_all(MARKED.as_bytes()).map_err(StorageError::directory(&path))?;
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(StorageError::Directory { path, source: error }),
        }
        Self::directory(path)
    }

    #[cfg(feature = "s3")]
    fn bucket(url: &Url) -> Result<Self, StorageError> {
        let invalid = |problem: &str| StorageError::InvalidUrl { problem: problem.to_owned() };
        let bucket = url.host_str().ok_or_else(|| invalid("names no bucket; write `s3://bucket/prefix`"))?;
        let prefix = Path::from_url_path(url.path()).map_err(|_| invalid("has an odd prefix"))?;
        Self::bucket_by(object_store::aws::AmazonS3Builder::from_env().with_bucket_name(bucket), prefix)
    }

    #[cfg(feature = "s3")]
    fn bucket_by(builder: object_store::aws::AmazonS3Builder, prefix: Path) -> Result<Self, StorageError> {
        // The worker tries again by itself, and says so meanwhile: the three minutes that are usual are a long silence.
        let retry = object_store::RetryConfig {
            max_retries: 5,
            retry_timeout: Duration::from_secs(20),
            ..object_store::RetryConfig::default()
        };
        let store = Arc::new(builder.with_retry(retry).build()?);
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
    /// [`StorageError::NotFound`]; [`StorageError::NotRegular`] for what would lead out of the directory, or not end.
    pub async fn open(&self, name: &ObjectName) -> Result<Stored, StorageError> {
        self.refuse_absent()?;
        self.refuse_odd(name)?;
        let found = self.store.get_opts(&self.path(name), GetOptions::default()).await?;
        Ok(Stored { bytes: found.meta.size, pieces: found.into_stream().map_err(StorageError::from).boxed() })
    }

    /// As [`open`](Self::open), of a file that has to have so many bytes. One that has not is not read; and should it have another
    /// length than it says, no more than that comes of it.
    ///
    /// # Errors
    ///
    /// [`StorageError::OtherLength`], also from the pieces, and as [`open`](Self::open).
    pub async fn open_of(&self, name: &ObjectName, expected: u64) -> Result<Stored, StorageError> {
        let other = {
            let object = name.as_str().to_owned();
            move |found, at_least| StorageError::OtherLength {
                object: object.clone(),
                found,
                expected,
                at_least,
            }
        };
        let found = self.size(name).await?;
        if found != expected {
            return Err(other(found, false));
        }
        let stored = self.open(name).await?;
        if stored.bytes != expected {
            return Err(other(stored.bytes, false));
        }
        let mut read = 0;
        let pieces = stored.pieces.map(move |piece| {
            let piece = piece?;
            read += piece.len() as u64;
            if read > expected { Err(other(read, true)) } else { Ok(piece) }
        });
        Ok(Stored { bytes: expected, pieces: pieces.boxed() })
    }

    /// How long a file is, in bytes, without reading it.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub async fn size(&self, name: &ObjectName) -> Result<u64, StorageError> {
        self.refuse_absent()?;
        self.refuse_odd(name)?;
        Ok(self.store.head(&self.path(name)).await?.size)
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
    /// [`StorageError::Failed`], [`StorageError::NotReady`] and [`StorageError::Directory`]; then it may still be there.
    pub async fn delete(&self, name: &ObjectName) -> Result<(), StorageError> {
        self.refuse_absent()?;
        self.remove_unfinished(name)?;
        match self.store.delete(&self.path(name)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Writes a small file, reads it back and removes it, from blocking code: whether exports could be kept here.
    ///
    /// # Errors
    ///
    /// What stands in the way. Of a directory that is [`StorageError::NotReady`], or what the system says.
    pub fn check(&self) -> Result<(), StorageError> {
        let unready =
            |error: io::Error| object_store::Error::Generic { store: "threadline", source: error.into() };
        let runtime = crate::reader::runtime().map_err(unready)?;
        let name: ObjectName =
            format!("check/{}", Uuid::new_v4().simple()).parse().expect("letters, digits and a slash");
        let done = runtime.block_on(async {
            self.prepare(&name)?;
            self.store.put(&self.path(&name), Bytes::from_static(b"threadline").into()).await?;
            let mut read = Vec::new();
            let mut stored = self.open(&name).await?;
            while let Some(piece) = stored.pieces.try_next().await? {
                read.extend_from_slice(&piece);
            }
            if read == b"threadline" { Ok(()) } else { Err(StorageError::NotWhole) }
        });
        done.and(runtime.block_on(self.delete(&name)))
    }

    /// That there is no file of this name.
    pub(crate) async fn refuse_existing(&self, name: &ObjectName) -> Result<(), StorageError> {
        match self.store.head(&self.path(name)).await {
            Ok(_) => Err(StorageError::Exists),
            Err(object_store::Error::NotFound { .. }) => Ok(()),
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
        self.refuse_absent()?;
        self.refuse_odd(name)?;
        match self.local_path(name).as_deref().and_then(std::path::Path::parent) {
            Some(parent) => make_private_directory(parent),
            None => Ok(()),
        }
    }

    fn local_path(&self, name: &ObjectName) -> Option<PathBuf> {
        self.root
            .as_ref()
            .map(|root| name.as_str().split('/').fold(root.clone(), |path, part| path.join(part)))
    }

    /// What was mounted when it was opened may have gone since.
    pub(crate) fn refuse_absent(&self) -> Result<(), StorageError> {
        self.root.as_deref().map_or(Ok(()), refuse_unmarked)
    }

    /// Nothing below the root is a link, which would lead out of the storage, and its files are plain: opening a pipe would wait for
    /// ever.
    fn refuse_odd(&self, name: &ObjectName) -> Result<(), StorageError> {
        let Some(mut path) = self.root.clone() else { return Ok(()) };
        let mut parts = name.as_str().split('/').peekable();
        while let Some(part) = parts.next() {
            path.push(part);
            let is_last = parts.peek().is_none();
            match path.symlink_metadata() {
                Ok(found) if found.is_dir() && is_last => return Err(StorageError::IsDirectory),
                Ok(found) if found.is_dir() || (found.is_file() && is_last) => {}
                Ok(_) => return Err(StorageError::NotRegular),
                Err(_) => {}
            }
        }
        Ok(())
    }

    /// `LocalFileSystem` writes `name#1`, `name#2` and so on before it renames.
    fn remove_unfinished(&self, name: &ObjectName) -> Result<(), StorageError> {
        let Some(path) = self.local_path(name) else { return Ok(()) };
        for number in 1_u32.. {
            let mut unfinished = path.clone().into_os_string();
            unfinished.push(format!("#{number}"));
            match std::fs::remove_file(unfinished) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(StorageError::Directory { path, source: error }),
            }
        }
        Ok(())
    }
}

fn hex_pairs(digits: &str) -> impl Iterator<Item = String> + '_ {
    digits.as_bytes().chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned())
}

fn refuse_unmarked(path: &std::path::Path) -> Result<(), StorageError> {
    let not_ready = |problem| StorageError::NotReady { path: path.to_owned(), problem };
    match path.join(MARK).symlink_metadata() {
        Ok(mark) if mark.is_file() => return Ok(()),
        Ok(_) => {}
        // Of one that may not be looked into, nobody can say more.
        Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Err(StorageError::Directory { path: path.to_owned(), source: error });
        }
        Err(_) => {}
    }
    Err(match path.metadata() {
        Ok(found) if !found.is_dir() => not_ready("is no directory"),
        Ok(_) => not_ready(
            "is no storage: it has no `.threadline-storage`; mount what belongs there, or make it one with `threadline storage create`",
        ),
        Err(_) => {
            not_ready("is not there; mount what belongs there, or make it with `threadline storage create`")
        }
    })
}

fn make_private_directory(path: &std::path::Path) -> Result<(), StorageError> {
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path).map_err(StorageError::directory(path))
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
