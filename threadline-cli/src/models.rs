//! The audited models of the host, as its sources say, and what is expected of the database for them.

use std::collections::BTreeMap;
use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Serialize;
use threadline::TableName;
use threadline::policy::Declared;

use crate::capture::{Attach, Audit, audits};
use crate::configuration::{Configuration, name};
use crate::migrations::nearest;
use crate::output::{DIM, Output, warn};
use crate::sources::{SourceDirectory, scan, source_directories};

/// Where the sources are.
#[derive(clap::Args)]
pub(crate) struct SourceArgs {
    /// The Cargo.toml of the package or workspace, if not the nearest
    #[arg(long, value_name = "PATH")]
    manifest_path: Option<PathBuf>,

    /// Read this directory instead of asking cargo; may be given several times
    #[arg(long, value_name = "DIR", conflicts_with = "manifest_path")]
    source: Vec<PathBuf>,
}

/// The directories of the sources, and where they were found.
pub(crate) struct Places {
    pub(crate) directories: Vec<SourceDirectory>,
    /// The directory from which migrations are looked for.
    pub(crate) start: PathBuf,
    /// What a person would call the whole.
    called: String,
}

impl SourceArgs {
    /// The directories to read; `None` when none are named and there is no package here or above.
    pub(crate) fn find(&self, current: &Path) -> Result<Option<Places>> {
        if !self.source.is_empty() {
            // They are read as one package: which is which, nobody says.
            let directories =
                self.source.iter().map(|path| SourceDirectory { path: current.join(path), package: 0 });
            let called = self.source.iter().map(|path| path.display().to_string()).collect::<Vec<_>>();
            return Ok(Some(Places {
                directories: directories.collect(),
                start: current.to_path_buf(),
                called: called.join(", "),
            }));
        }
        let manifest = match &self.manifest_path {
            Some(path) => current.join(path),
            None => match nearest(current, "Cargo.toml") {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        let start = manifest.parent().unwrap_or(current).to_path_buf();
        Ok(Some(Places { directories: source_directories(&manifest)?, start, called: name(&manifest) }))
    }
}

/// What is expected of the database.
#[derive(clap::Args)]
#[command(next_help_heading = "Expectation")]
pub(crate) struct ExpectationArgs {
    #[command(flatten)]
    sources: SourceArgs,

    /// Expect no models: only what the configuration lists, whatever sources there are
    #[arg(long, conflicts_with_all = ["manifest_path", "source"])]
    no_models: bool,
}

/// The models to be found in the database, and where they are declared.
pub(crate) struct Models {
    audits: BTreeMap<TableName, Audit>,
    /// `None` when no sources were read.
    read_from: Option<String>,
}

/// Which models were taken as expected.
#[derive(Clone, Serialize)]
pub(crate) struct ModelsRead {
    /// Where they were read from; `None` when no sources were.
    models_of: Option<String>,
    /// How many tables they are of.
    models: usize,
}

/// What was taken as expected, for whoever wonders.
#[derive(Serialize)]
pub(crate) struct Expectation {
    #[serde(flatten)]
    models: ModelsRead,
    /// The configuration, if there is one.
    configuration: Option<String>,
    expected: usize,
    ignored: usize,
    scope_column: Option<String>,
}

impl ExpectationArgs {
    /// Reads the models.
    ///
    /// # Errors
    ///
    /// Every mistake of every model.
    pub(crate) fn models(&self) -> Result<Models> {
        let current = env::current_dir().context("cannot tell the working directory")?;
        let places = if self.no_models { None } else { self.sources.find(&current)? };
        let Some(places) = places else {
            return Ok(Models { audits: BTreeMap::new(), read_from: None });
        };
        let audits = audits(&scan(&places.directories)?)?;
        if audits.is_empty() {
            warn("no struct derives `Audited` in the sources read");
        }
        Ok(Models { audits, read_from: Some(places.called) })
    }
}

impl Models {
    /// Hands over what they declare.
    pub(crate) fn declared<R>(&self, take: impl FnOnce(Vec<Declared<'_>>) -> R) -> R {
        let lists: Vec<_> = self.audits.values().map(|audit| audit.attach.lists()).collect();
        let declared = self.audits.values().zip(&lists).map(|(Audit { attach, model }, lists)| {
            let Attach { table, .. } = attach;
            Declared { table: table.clone(), spec: attach.spec(lists), by: model.clone() }
        });
        take(declared.collect())
    }

    /// Which they are.
    pub(crate) fn read(&self) -> ModelsRead {
        ModelsRead { models_of: self.read_from.clone(), models: self.audits.len() }
    }

    /// What is expected, all in all.
    pub(crate) fn expectation(&self, configuration: &Configuration) -> Expectation {
        let tables = &configuration.config.tables;
        Expectation {
            models: self.read(),
            configuration: configuration.name(),
            expected: tables.expected.len(),
            ignored: tables.ignored.len(),
            scope_column: tables.scope_column.clone(),
        }
    }
}

impl ModelsRead {
    fn in_words(&self) -> String {
        match &self.models_of {
            Some(place) => format!("{} of {place}", counted(self.models, "model")),
            None => "no models, for no sources were read".to_owned(),
        }
    }

    /// Says it in a sentence.
    pub(crate) fn print(&self, output: &mut Output) -> std::io::Result<()> {
        output.prose(DIM, "", &format!("declared: {}", self.in_words()))
    }
}

impl Expectation {
    /// Says it in a sentence or two.
    pub(crate) fn print(&self, output: &mut Output) -> std::io::Result<()> {
        let models = self.models.in_words();
        let rest = match &self.configuration {
            Some(file) => {
                let scope = self.scope_column.as_ref();
                let scope = scope.map(|column| format!(", scope column `{column}`")).unwrap_or_default();
                let expected = counted(self.expected, "more table");
                format!("; {expected} by {file}, {} ignored{scope}", self.ignored)
            }
            None => ", and no threadline.toml".to_owned(),
        };
        output.prose(DIM, "", &format!("expected: {models}{rest}"))
    }
}

/// `1 model`, `2 models`.
pub(crate) fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}
