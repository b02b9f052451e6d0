//! The host's migrations directory, as Diesel reads it.

use std::path::{Path, PathBuf};
use std::{env, fs};

use anyhow::{Context, Result, ensure};
use chrono::{NaiveDateTime, TimeDelta, Utc};
use serde::Deserialize;
use threadline::{CORE_MIGRATIONS, CoreMigration};

/// How Diesel writes the version of a directory; dashes do not count when versions are compared.
const DIRECTORY_FORMAT: &str = "%Y-%m-%d-%H%M%S";
const VERSION_FORMAT: &str = "%Y%m%d%H%M%S";

/// The migrations of one directory, oldest first.
pub(crate) struct Migrations {
    path: PathBuf,
    migrations: Vec<Migration>,
}

/// One migration: a directory `<version>_<name>` that holds `up.sql` and `down.sql`.
#[derive(Clone)]
pub(crate) struct Migration {
    /// What Diesel orders by, as text: the part before the first underscore, without dashes.
    version: String,
    /// What follows the version.
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl Migrations {
    pub(crate) fn read(path: PathBuf) -> Result<Self> {
        ensure!(
            path.is_dir(),
            "there is no migrations directory at {}; run `diesel setup`, or name another with `--migrations-dir`",
            path.display()
        );
        let mut migrations = Vec::new();
        for entry in fs::read_dir(&path).with_context(|| format!("cannot read {}", path.display()))? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            // As in Diesel: a leading dot hides a directory.
            if entry.path().is_dir() && !name.starts_with('.') {
                migrations.push(Migration::at(entry.path(), &name));
            }
        }
        migrations.sort_by(|left, right| (&left.version, &left.name).cmp(&(&right.version, &right.name)));
        Ok(Self { path, migrations })
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Migration> {
        self.migrations.iter()
    }

    /// Appends a migration that runs after all others, and does not write it yet.
    ///
    /// Its version is the time, or one second after the newest version there is: Diesel silently skips the second of two
    /// equal versions, and cannot revert an older one once a newer one has run.
    pub(crate) fn append(&mut self, name: &str) -> Result<Migration> {
        let now = Utc::now().naive_utc();
        let time = match self.migrations.last() {
            Some(newest) if newest.version >= now.format(VERSION_FORMAT).to_string() => {
                newest.following_second()?
            }
            _ => now,
        };
        let directory = format!("{}_{name}", time.format(DIRECTORY_FORMAT));
        let migration = Migration::at(self.path.join(&directory), &directory);
        self.migrations.push(migration.clone());
        Ok(migration)
    }
}

impl Migration {
    fn at(path: PathBuf, directory: &str) -> Self {
        let (version, name) = directory.split_once('_').unwrap_or((directory, ""));
        Self { version: version.replace('-', ""), name: String::from(name), path }
    }

    /// Whether it is one of the audit schema's own, which `threadline install` puts here.
    pub(crate) fn is_core(&self) -> bool {
        CORE_MIGRATIONS.iter().any(|core| self.name == core_name(core))
    }

    fn following_second(&self) -> Result<NaiveDateTime> {
        // diesel_cli appends four digits to the seconds.
        let seconds =
            self.version.get(..14).and_then(|text| NaiveDateTime::parse_from_str(text, VERSION_FORMAT).ok());
        let following = seconds.and_then(|time| time.checked_add_signed(TimeDelta::seconds(1)));
        following.filter(|time| time.format(VERSION_FORMAT).to_string() > self.version).with_context(|| {
            format!(
                "no timestamp sorts after the migration {}, so nothing can follow it; give it a version such \
                 as 2026-01-31-120000",
                self.path.display()
            )
        })
    }

    /// Writes both files, or nothing: an interrupted run leaves no half-written migration.
    pub(crate) fn write(&self, up: &str, down: &str) -> Result<()> {
        let name = self.path.file_name().expect("built from a directory name").to_string_lossy();
        let unfinished = self.path.with_file_name(format!(".{name}.unfinished"));
        let written = fs::create_dir(&unfinished)
            .and_then(|()| fs::write(unfinished.join("up.sql"), up))
            .and_then(|()| fs::write(unfinished.join("down.sql"), down))
            .and_then(|()| fs::rename(&unfinished, &self.path));
        if written.is_err() {
            // The first failure is the one worth reporting.
            let _ = fs::remove_dir_all(&unfinished);
        }
        written.with_context(|| format!("cannot write {}", self.path.display()))
    }

    /// The text of `up.sql` or `down.sql`, with the line ends we write whatever a checkout made of them.
    pub(crate) fn sql(&self, file: &str) -> Result<String> {
        let path = self.path.join(file);
        let sql = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(sql.replace("\r\n", "\n"))
    }
}

/// The name of a migration of the audit schema in the host's directory.
pub(crate) fn core_name(core: &CoreMigration) -> String {
    format!("threadline_{}", core.name)
}

/// The part of diesel.toml that says where migrations are.
#[derive(Deserialize)]
struct DieselToml {
    migrations_directory: Option<MigrationsDirectory>,
}

#[derive(Deserialize)]
struct MigrationsDirectory {
    dir: PathBuf,
}

/// Where diesel_cli would look when called in `start`: diesel.toml, else the nearest `migrations`.
///
/// A migration elsewhere would never run. The environment variable of diesel_cli is read by clap, with the option.
pub(crate) fn locate(start: &Path) -> Result<PathBuf> {
    let config = env::var_os("DIESEL_CONFIG_FILE").map(PathBuf::from);
    let config = config.or_else(|| nearest(start, "diesel.toml"));
    if let Some(path) = config {
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let config: DieselToml =
            toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
        if let Some(MigrationsDirectory { dir }) = config.migrations_directory {
            return Ok(path.parent().unwrap_or(Path::new("")).join(dir));
        }
    }
    let mut candidates = start.ancestors().map(|directory| directory.join("migrations"));
    candidates.find(|path| path.is_dir()).with_context(|| {
        let start = start.display();
        format!("no migrations directory in {start} or above; run `diesel setup`, or name one with `--migrations-dir`")
    })
}

/// The file `name` in `start`, or in the closest of the directories above that has one.
pub(crate) fn nearest(start: &Path, name: &str) -> Option<PathBuf> {
    start.ancestors().map(|directory| directory.join(name)).find(|path| path.is_file())
}
