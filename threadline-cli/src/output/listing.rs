//! A list of unknown length as one JSON document, written entry by entry.

use std::io;

use serde::Serialize;

use super::{FORMAT_VERSION, Output};

/// A document `{"format_version": 1, …head, "<name>": [ … ], …tail}` being written. Memory holds one entry.
pub(crate) struct Listing {
    is_first: bool,
}

impl Listing {
    /// Begins it; `head` is a struct or a map.
    pub(crate) fn begin(output: &mut Output, head: &impl Serialize, name: &str) -> io::Result<Self> {
        #[derive(Serialize)]
        struct Head<'a, T> {
            format_version: u32,
            #[serde(flatten)]
            head: &'a T,
        }
        let head = json(&Head { format_version: FORMAT_VERSION, head })?;
        output.json_part(head.strip_suffix('}').unwrap_or(&head))?;
        output.json_part(&format!(",{}:[", json(&name)?))?;
        Ok(Self { is_first: true })
    }

    /// Writes the next entry.
    pub(crate) fn entry(&mut self, output: &mut Output, entry: &impl Serialize) -> io::Result<()> {
        output.json_part(if self.is_first { "\n" } else { ",\n" })?;
        self.is_first = false;
        output.json_part(&json(entry)?)
    }

    /// Ends it; `tail` is a struct with at least one field.
    pub(crate) fn end(self, output: &mut Output, tail: &impl Serialize) -> io::Result<()> {
        output.json_part("\n],")?;
        let tail = json(tail)?;
        output.json_part(tail.strip_prefix('{').unwrap_or(&tail))?;
        output.json_part("\n")
    }
}

fn json(value: &impl Serialize) -> io::Result<String> {
    serde_json::to_string(value).map_err(io::Error::other)
}
