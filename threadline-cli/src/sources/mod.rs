//! The host's sources, read without compiling them: its audited models and its `table!` declarations.

mod attributes;
mod lookup;
mod packages;
mod scan;
mod table;

use std::cmp::Ordering;
use std::fmt;
use std::path::{Path, PathBuf};

use syn::DeriveInput;

use crate::shown;

pub(crate) use self::packages::source_directories;
pub(crate) use self::scan::scan;
pub(crate) use self::table::TableDeclaration;

/// A directory whose `.rs` files belong to one package; the package is known by its index.
pub(crate) struct SourceDirectory {
    pub(crate) path: PathBuf,
    pub(crate) package: usize,
}

/// What the sources hold.
#[derive(Default)]
pub(crate) struct Sources {
    pub(crate) models: Vec<Found<DeriveInput>>,
    pub(crate) tables: Vec<Found<TableDeclaration>>,
}

/// Something found in a source file.
#[derive(Clone)]
pub(crate) struct Found<T> {
    pub(crate) item: T,
    pub(crate) place: Place,
}

/// Where something was found.
#[derive(Clone)]
pub(crate) struct Place {
    pub(crate) file: PathBuf,
    pub(crate) line: usize,
    pub(crate) package: usize,
    /// The module, as the file's path and the blocks around it tell.
    pub(crate) module: Vec<String>,
}

impl Place {
    pub(crate) fn cmp_by_line(&self, other: &Self) -> Ordering {
        (&self.file, self.line).cmp(&(&other.file, other.line))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", shown(&self.file), self.line)
    }
}

/// `error` as compilers print it, one line a message: `src/models.rs:12:7: expected ..`.
pub(crate) fn located(file: &Path, error: syn::Error) -> Vec<String> {
    let lines = error.into_iter().map(|error| {
        let start = error.span().start();
        format!("{}:{}:{}: {error}", shown(file), start.line, start.column + 1)
    });
    lines.collect()
}
