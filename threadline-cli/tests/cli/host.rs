//! A host application in a temporary directory: sources that are read, never compiled.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;
use threadline::CORE_MIGRATIONS;

pub(crate) const MANIFEST: &str = "[package]\nname = \"host\"\nedition = \"2024\"\n[workspace]\n";
pub(crate) const SCHEMA: &str = "
diesel::table! {
    posts (id) { id -> Int8, title -> Text, views -> Int4 }
}
diesel::table! {
    users (id) { id -> Int8, org_id -> Int8, email -> Text, password_hash -> Text }
}
";
pub(crate) const POST: &str =
    "#[derive(Audited)] #[diesel(table_name = posts)] #[threadline(ignore(views))] struct Post;\n";
pub(crate) const USER: &str =
    "#[derive(Audited)] #[threadline(exclude(password_hash), mask(email))] struct User;\n";

pub(crate) struct Host {
    directory: TempDir,
}

/// A migration of the audit schema in the host's directory.
pub(crate) fn audit_schema() -> String {
    format!("migrations/2026-01-31-120001_threadline_{}", CORE_MIGRATIONS[0].name)
}

/// How a call of the command ended.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Host {
    /// A package with these models, [`SCHEMA`], and an installed audit schema.
    pub(crate) fn new(models: &str) -> Self {
        let host = Self { directory: TempDir::new().expect("a temporary directory") };
        host.write("Cargo.toml", MANIFEST);
        host.write("src/lib.rs", "mod models; mod schema;");
        host.write("src/schema.rs", SCHEMA);
        host.write("src/models.rs", models);
        host.write("migrations/2026-01-31-120000_create_posts/up.sql", "");
        host.write(&format!("{}/up.sql", audit_schema()), "");
        host
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        // The command prints real paths, and a temporary directory may be reached by a link.
        self.directory.path().canonicalize().expect("it exists").join(path)
    }

    pub(crate) fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("inside the host")).expect("can be made");
        fs::write(path, text).expect("can be written");
    }

    pub(crate) fn remove(&self, path: &str) {
        fs::remove_dir_all(self.path(path)).expect("can be removed");
    }

    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    /// Runs `threadline` with the arguments in `line`, split at spaces.
    pub(crate) fn run(&self, line: &str) -> Run {
        self.run_in(".", line)
    }

    pub(crate) fn run_in(&self, directory: &str, line: &str) -> Run {
        let output = Command::new(env!("CARGO_BIN_EXE_threadline"))
            .args(line.split(' '))
            .current_dir(self.path(directory))
            .env_remove("MIGRATION_DIRECTORY")
            .env_remove("DIESEL_CONFIG_FILE")
            .env_remove("COLUMNS")
            .output()
            .expect("the binary was built for this test");
        let text = |bytes| String::from_utf8(bytes).expect("the command writes UTF-8");
        Run { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// As [`run`](Self::run), which must succeed.
    pub(crate) fn done(&self, line: &str) -> String {
        let run = self.run(line);
        assert_eq!(run.code, Some(0), "{}{}", run.stdout, run.stderr);
        run.stdout
    }

    /// As [`run`](Self::run), which must not be able to; the message without its `error: `.
    pub(crate) fn refused(&self, line: &str) -> String {
        let run = self.run(line);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{}", run.stderr);
        let message = run.stderr.split_once("error: ").expect("says what is wrong").1;
        String::from(message.trim_end())
    }

    /// The directories in `migrations`, by version.
    pub(crate) fn migrations(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("migrations")).expect("was written by `new`");
        let mut names: Vec<String> = entries
            .map(|entry| entry.expect("readable").file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// The directory of the newest migration.
    pub(crate) fn newest(&self) -> String {
        format!("migrations/{}", self.migrations().pop().expect("was written by `new`"))
    }

    /// The SQL of the newest migration, comments left out.
    pub(crate) fn newest_sql(&self, file: &str) -> String {
        let sql = self.read(&format!("{}/{file}", self.newest()));
        let lines = sql.lines().filter(|line| !line.starts_with("--") && !line.is_empty());
        lines.collect::<Vec<_>>().join("\n")
    }
}

/// `name` without its version.
pub(crate) fn unversioned(name: &str) -> &str {
    Path::new(name).file_name().and_then(|name| name.to_str()?.split_once('_')).expect("a migration").1
}
