//! Lines into an object of an archive, and back.

use std::io::{self, Read};

use flate2::Compression;
use flate2::read::{GzEncoder, MultiGzDecoder};
use sha2::{Digest, Sha256};

use super::{Archive, ArchivedContent, Part, failed};
use crate::error::Error;

/// What was found in an object, where something else was written.
#[derive(Debug, thiserror::Error)]
#[error("{0}; check the storage")]
pub(super) struct Unlike(String);

impl Unlike {
    fn read(problem: String) -> io::Error {
        io::Error::new(io::ErrorKind::InvalidData, Self(problem))
    }
}

/// Stores the lines that `next_page` yields until `None`, compressed. Returns what they are.
pub(super) fn store(
    archive: &mut dyn Archive,
    object: &str,
    next_page: &mut dyn FnMut() -> Result<Option<Vec<u8>>, Error>,
) -> Result<Part, Error> {
    let pages = Pages { next_page, page: io::Cursor::default(), error: None };
    let mut content = Counted::new(GzEncoder::new(Lines::new(pages, None), Compression::default()), None);
    let stored = archive.store(object, &mut content);
    // Where the archive has not read to the end, that is an object with less in it.
    let at_end = stored.is_ok() && matches!(content.read(&mut [0]), Ok(0));
    let Counted { source, bytes, .. } = content;
    let mut lines = source.into_inner();
    match (lines.source.error.take(), stored) {
        (Some(error), _) => Err(error),
        (None, Err(error)) => Err(failed(object)(error)),
        (None, Ok(())) if at_end => Ok(lines.part(bytes)),
        (None, Ok(())) => Err(differs(object)),
    }
}

/// Reads an object back; no more of it than there should be.
pub(super) fn check(archive: &mut dyn Archive, object: &str, part: &Part) -> Result<(), Error> {
    let mut lines = open_lines(archive, object, part)?;
    io::copy(&mut lines, &mut io::sink()).map_err(failed(object))?;
    lines.end(object)
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

/// Reads lines, and counts and digests them on the way. Fails at once when it is more than what is expected, so that what was put
/// in the place of an object fills neither memory nor disk.
pub(super) struct Lines<R> {
    source: R,
    expected: Option<Part>,
    rows: u64,
    text_bytes: u64,
    /// Of the line that is being read.
    line_bytes: u64,
    longest_line: u64,
    digest: Sha256,
}

impl<R: Read> Lines<R> {
    fn new(source: R, expected: Option<Part>) -> Self {
        let digest = Sha256::new();
        Self { source, expected, rows: 0, text_bytes: 0, line_bytes: 0, longest_line: 0, digest }
    }

    /// What was read, from an object of so many bytes.
    fn part(self, bytes: u64) -> Part {
        let Self { rows, text_bytes, longest_line, digest, .. } = self;
        let sha256 = hexadecimal(&digest.finalize());
        Part { rows, content: ArchivedContent { sha256, bytes, text_bytes, longest_line } }
    }

    fn count(&mut self, read: &[u8]) {
        self.text_bytes += read.len() as u64;
        for piece in read.split_inclusive(|byte| *byte == b'\n') {
            let ends = piece.ends_with(b"\n");
            self.line_bytes += (piece.len() - usize::from(ends)) as u64;
            self.longest_line = self.longest_line.max(self.line_bytes);
            if ends {
                self.rows += 1;
                self.line_bytes = 0;
            }
        }
    }

    fn refuse_excess(&self) -> io::Result<()> {
        let Some(Part { rows, content }) = &self.expected else { return Ok(()) };
        let excess = [
            (self.text_bytes, content.text_bytes, "bytes of lines"),
            (self.longest_line, content.longest_line, "bytes in a line"),
            (self.rows, *rows, "rows"),
        ];
        match excess.into_iter().find(|(found, expected, _)| found > expected) {
            None => Ok(()),
            Some((found, expected, what)) => Err(Unlike::read(format!(
                "has {found} {what} or more, and no more than {expected} were written"
            ))),
        }
    }
}

impl<R: Read> Read for Lines<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.count(&buffer[..count]);
        self.refuse_excess()?;
        self.digest.update(&buffer[..count]);
        Ok(count)
    }
}

/// The lines of an object of an archive.
pub(super) type StoredLines<'a> = Lines<MultiGzDecoder<Counted<Box<dyn Read + 'a>>>>;

impl StoredLines<'_> {
    /// That what was read to its end is what is expected.
    pub(super) fn end(mut self, object: &str) -> Result<(), Error> {
        let bytes = self.source.get_ref().bytes;
        let expected = self.expected.take();
        let found = self.part(bytes);
        let Some(expected) = expected.filter(|expected| *expected != found) else { return Ok(()) };
        let amounts = |part: &Part| {
            let content = &part.content;
            [
                (content.bytes, "bytes"),
                (content.text_bytes, "bytes of lines"),
                (part.rows, "rows"),
                (content.longest_line, "bytes in its longest line"),
            ]
        };
        let other =
            amounts(&found).into_iter().zip(amounts(&expected)).find(|(found, expected)| found != expected);
        let problem = match other {
            Some(((found, what), (expected, _))) => {
                format!("has {found} {what}, and {expected} were written")
            }
            None => format!(
                "has the SHA-256 {} over its lines, and {} was written",
                found.content.sha256, expected.content.sha256
            ),
        };
        Err(failed(object)(Unlike::read(problem)))
    }
}

/// Opens an object that has to be `part`. What the archive says is longer or shorter is not read at all.
pub(super) fn open_lines<'a>(
    archive: &'a mut dyn Archive,
    object: &str,
    part: &Part,
) -> Result<StoredLines<'a>, Error> {
    refuse_other_size(archive, object, part.content.bytes)?;
    let source = archive.open(object).map_err(failed(object))?;
    let source = Counted::new(source, Some(part.content.bytes));
    Ok(Lines::new(MultiGzDecoder::new(source), Some(part.clone())))
}

/// That an object is as long as the one that was written, as far as the archive tells.
pub(super) fn refuse_other_size(archive: &mut dyn Archive, object: &str, expected: u64) -> Result<(), Error> {
    match archive.size(object).map_err(failed(object))? {
        Some(found) if found != expected => {
            Err(failed(object)(Unlike::read(format!("has {found} bytes, and {expected} were written"))))
        }
        _ => Ok(()),
    }
}

/// Reads bytes and counts them, up to the most there may be.
pub(super) struct Counted<R> {
    source: R,
    bytes: u64,
    most: Option<u64>,
}

impl<R> Counted<R> {
    pub(super) fn new(source: R, most: Option<u64>) -> Self {
        Self { source, bytes: 0, most }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.source.read(buffer)?;
        self.bytes += count as u64;
        match self.most {
            Some(most) if self.bytes > most => {
                Err(Unlike::read(format!("has {} bytes or more, and {most} were written", self.bytes)))
            }
            _ => Ok(count),
        }
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
