//! Where an export goes, with what has gone there counted and digested.

use std::fmt::Write as _;
use std::io;

use sha2::{Digest, Sha256};

use crate::error::Error;

pub(super) struct Output<W> {
    writer: W,
    digest: Sha256,
    bytes: u64,
}

impl<W: io::Write> Output<W> {
    pub(super) fn new(writer: W) -> Self {
        Self { writer, digest: Sha256::new(), bytes: 0 }
    }

    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.writer.write_all(bytes).map_err(Error::Export)?;
        self.digest.update(bytes);
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// The number of bytes written so far.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Flushes; returns the number of bytes written and their SHA-256 in hexadecimal digits.
    pub(super) fn finish(mut self) -> Result<(u64, String), Error> {
        self.writer.flush().map_err(Error::Export)?;
        let mut digits = String::with_capacity(64);
        for byte in self.digest.finalize() {
            write!(digits, "{byte:02x}").expect("a String takes any text");
        }
        Ok((self.bytes, digits))
    }
}
