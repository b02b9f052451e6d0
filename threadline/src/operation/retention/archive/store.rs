//! Lines into an object of an archive, and back.

use std::io::{self, Read};

use flate2::Compression;
use flate2::read::{GzEncoder, MultiGzDecoder};
use sha2::{Digest, Sha256};

use super::{Archive, Part, failed};
use crate::error::Error;

/// Stores the lines that `next_page` yields until `None`, compressed. Returns what they are, and the bytes of the object.
pub(super) fn store(
    archive: &mut dyn Archive,
    object: &str,
    next_page: &mut dyn FnMut() -> Result<Option<Vec<u8>>, Error>,
) -> Result<(Part, u64), Error> {
    let pages = Pages { next_page, page: io::Cursor::default(), error: None };
    let mut content = Counted { source: GzEncoder::new(Lines::new(pages), Compression::default()), bytes: 0 };
    let stored = archive.store(object, &mut content);
    // Where the archive has not read to the end, that is an object with less in it.
    let at_end = stored.is_ok() && matches!(content.read(&mut [0]), Ok(0));
    let Counted { source, bytes } = content;
    let mut lines = source.into_inner();
    match (lines.source.error.take(), stored) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(failed(object)(error)),
        (None, Ok(())) if at_end => Ok((lines.part(), bytes)),
        (None, Ok(())) => Err(differs(object)),
    }
}

/// Reads an object back.
pub(super) fn check(archive: &mut dyn Archive, object: &str, part: &Part) -> Result<(), Error> {
    let mut lines = open_lines(archive, object)?;
    io::copy(&mut lines, &mut io::sink()).map_err(failed(object))?;
    if lines.part() == *part { Ok(()) } else { Err(differs(object)) }
}

pub(super) fn differs(object: &str) -> Error {
    Error::ArchiveUnsound {
        object: object.to_owned(),
        problem: "does not have what was stored; check the storage".to_owned(),
    }
}

pub(super) fn page_of(lines: impl Iterator<Item = String>) -> Vec<u8> {
    let mut page = Vec::new();
    for line in lines {
        page.extend_from_slice(line.as_bytes());
        page.push(b'\n');
    }
    page
}

pub(super) fn sha256_of(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

fn hexadecimal(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Reads lines, and counts and digests them on the way.
pub(super) struct Lines<R> {
    source: R,
    rows: u64,
    digest: Sha256,
}

impl<R: Read> Lines<R> {
    fn new(source: R) -> Self {
        Self { source, rows: 0, digest: Sha256::new() }
    }

    /// What was read.
    pub(super) fn part(self) -> Part {
        Part { rows: self.rows, sha256: hexadecimal(&self.digest.finalize()) }
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.rows += buffer[..count].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

pub(super) fn open_lines<'a>(
    archive: &'a mut dyn Archive,
    object: &str,
) -> Result<Lines<MultiGzDecoder<Box<dyn Read + 'a>>>, Error> {
    archive.open(object).map(|source| Lines::new(MultiGzDecoder::new(source))).map_err(failed(object))
}

struct Counted<R> {
    source: R,
    bytes: u64,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

/// What the database yields, a page in memory at a time.
struct Pages<'a> {
    next_page: &'a mut dyn FnMut() -> Result<Option<Vec<u8>>, Error>,
    page: io::Cursor<Vec<u8>>,
    /// What a page failed with.
    error: Option<Error>,
}

impl Read for Pages<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let count = self.page.read(buffer)?;
            if count > 0 || buffer.is_empty() {
                return Ok(count);
            }
            match (self.next_page)() {
                Ok(Some(page)) => self.page = io::Cursor::new(page),
                Ok(None) => return Ok(0),
                Err(error) => {
                    self.error = Some(error);
                    return Err(io::Error::other("the database failed"));
                }
            }
        }
    }
}
