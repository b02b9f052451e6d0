//! A store that fails where it is told to.

use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream::{self, BoxStream};
use futures_util::{StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, UploadPart,
};
use threadline_worker::Storage;

/// Where it fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A small file is not taken.
    Put,
    /// A small file is taken, and the answer is lost.
    AfterPut,
    /// An upload cannot begin.
    Begin,
    /// A later part is not taken.
    Part,
    /// The parts are not put together.
    Complete,
    /// They are, and the answer is lost.
    AfterComplete,
    /// The file cannot be read back.
    Get,
    /// Reading it back ends early.
    GetEnds,
    /// What is read back is something else.
    GetOther,
    /// Nothing is removed.
    Delete,
}

type Hook = dyn Fn() + Send + Sync;

#[derive(Clone)]
pub(super) struct Faulty {
    pub(super) files: Arc<InMemory>,
    failing: Arc<Mutex<Vec<Step>>>,
    /// Runs before each part is taken.
    at_part: Arc<Mutex<Option<Box<Hook>>>>,
}

impl Faulty {
    pub(super) fn at(steps: &[Step]) -> Self {
        Self { files: Arc::default(), failing: Arc::new(Mutex::new(steps.to_vec())), at_part: Arc::default() }
    }

    pub(super) fn storage(&self) -> Storage {
        Storage::of(Arc::new(self.clone()))
    }

    pub(super) fn repair(&self) {
        self.failing.lock().unwrap().clear();
    }

    pub(super) fn at_part(&self, hook: impl Fn() + Send + Sync + 'static) {
        *self.at_part.lock().unwrap() = Some(Box::new(hook));
    }

    /// The names of the files that can be read.
    pub(super) fn names(&self) -> Vec<String> {
        let list = self.files.list(None).map_ok(|found| found.location.to_string()).try_collect();
        futures_util::FutureExt::now_or_never(list).unwrap().unwrap()
    }

    fn check(&self, step: Step) -> Result<()> {
        if self.fails(step) { Err(broken()) } else { Ok(()) }
    }

    fn fails(&self, step: Step) -> bool {
        self.failing.lock().unwrap().contains(&step)
    }
}

fn broken() -> Error {
    Error::Generic { store: "faulty", source: "it is broken: secret-endpoint".into() }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Faulty")
    }
}

#[derive(Debug)]
struct FaultyUpload {
    store: Faulty,
    upload: Box<dyn MultipartUpload>,
    parts: usize,
}

#[async_trait]
impl MultipartUpload for FaultyUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.parts += 1;
        if let Some(hook) = &*self.store.at_part.lock().unwrap() {
            hook();
        }
        if self.parts == 2 && self.store.fails(Step::Part) {
            return Box::pin(async { Err(broken()) });
        }
        self.upload.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        self.store.check(Step::Complete)?;
        let result = self.upload.complete().await?;
        self.store.check(Step::AfterComplete)?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.upload.abort().await
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        self.check(Step::Put)?;
        let result = self.files.put_opts(location, payload, opts).await?;
        self.check(Step::AfterPut)?;
        Ok(result)
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.check(Step::Begin)?;
        let upload = self.files.put_multipart_opts(location, opts).await?;
        Ok(Box::new(FaultyUpload { store: self.clone(), upload, parts: 0 }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.check(Step::Get)?;
        let found = self.files.get_opts(location, options).await?;
        let (meta, range, attributes, extensions) =
            (found.meta.clone(), found.range.clone(), found.attributes.clone(), found.extensions.clone());
        let bytes = found.bytes().await?;
        let payload = if self.fails(Step::GetEnds) {
            stream::iter([Ok(bytes.slice(..bytes.len() / 2))]).boxed()
        } else if self.fails(Step::GetOther) {
            let mut other = bytes.to_vec();
            other[0] ^= 1;
            stream::iter([Ok(Bytes::from(other))]).boxed()
        } else {
            stream::iter([Ok(bytes)]).boxed()
        };
        Ok(GetResult { payload: GetResultPayload::Stream(payload), meta, range, attributes, extensions })
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.files.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        if self.fails(Step::Delete) {
            return locations.map(|_| Err(broken())).boxed();
        }
        self.files.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.files.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.files.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.files.copy_opts(from, to, options).await
    }
}
