//! The example's migrations under the real `diesel` command: run, redo, revert, run again.
//!
//! The command is installed once into the target folder, which takes some minutes; all other tests run the same files
//! through `MigrationHarness`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use tempfile::TempDir;
use threadline_devdb::TestDatabase;

/// Of the same release as the diesel this workspace is locked to.
const DIESEL_CLI: &str = "2.3.14";

/// What each table's audit leaves out, where it is audited at all.
const POLICIES: &str = "SELECT string_agg(format('%s %s', table_name, ignore), ', ' ORDER BY table_name) AS text \
    FROM threadline.audited_tables WHERE attached";
const ALL_POLICIES: &str = "comments {}, memberships {}, notifications {}, organizations {}, posts {updated_at,views}, staff {}, users {}";
const FIRST_POLICIES: &str = "comments {}, posts {}, users {}";

#[test]
fn migrations_run_redo_and_revert_with_diesel_cli() {
    let example = Example::new();
    let conn = &mut example.db.connect();

    example.diesel("run");
    assert_eq!(ask(conn, POLICIES).as_deref(), Some(ALL_POLICIES));
    assert_eq!(
        without_layout(&example.schema()),
        without_layout(&read("src/schema.rs")),
        "src/schema.rs is behind"
    );

    example.diesel("redo");
    assert_eq!(ask(conn, POLICIES).as_deref(), Some(ALL_POLICIES));
    assert_eq!(changes_made_by_a_view(conn), 0, "views are ignored");

    // Back to before the second of the capture migrations: what the first one said holds again.
    example.diesel("revert --number 15");
    assert_eq!(ask(conn, POLICIES).as_deref(), Some(FIRST_POLICIES));
    assert_eq!(changes_made_by_a_view(conn), 1, "views are recorded, as they were before");

    example.diesel("revert --all");
    let left = "SELECT string_agg(relname, ' ') AS text FROM pg_class WHERE relkind IN ('r', 'p') \
        AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')";
    assert_eq!(ask(conn, left).as_deref(), Some("__diesel_schema_migrations"));
    assert_eq!(ask(conn, "SELECT to_regnamespace('threadline')::text AS text"), None);

    example.diesel("run");
    assert_eq!(ask(conn, POLICIES).as_deref(), Some(ALL_POLICIES));
    assert_eq!(changes_made_by_a_view(conn), 0, "views are ignored");
}

/// The example's folder as far as `diesel` reads and writes it, and a database.
struct Example {
    program: PathBuf,
    directory: TempDir,
    db: TestDatabase,
}

impl Example {
    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        // It looks for the manifest to know where the project begins.
        for file in ["Cargo.toml", "diesel.toml", "src/schema.rs"] {
            copy(Path::new(file), directory.path());
        }
        for migration in fs::read_dir(source("migrations")).expect("it is there") {
            let name = migration.expect("readable").file_name();
            for file in ["up.sql", "down.sql"] {
                copy(&Path::new("migrations").join(&name).join(file), directory.path());
            }
        }
        Self { program: installed_diesel_cli(), directory, db: TestDatabase::empty() }
    }

    /// `diesel migration` with these arguments, which has to succeed.
    fn diesel(&self, arguments: &str) {
        let output = Command::new(&self.program)
            .arg("migration")
            .args(arguments.split(' '))
            .current_dir(self.directory.path())
            .env_remove("MIGRATION_DIRECTORY")
            .env_remove("DIESEL_CONFIG_FILE")
            .env("DATABASE_URL", self.db.url())
            .output()
            .expect("it was just installed");
        assert!(output.status.success(), "{arguments}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What `diesel migration run` makes of the schema.
    fn schema(&self) -> String {
        fs::read_to_string(self.directory.path().join("src/schema.rs")).expect("diesel wrote it")
    }
}

/// The path of `diesel`, installed first if need be; its libpq is built from source, as ours.
fn installed_diesel_cli() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is inside the target folder");
    let root = target.join("tools");
    let program = root.join("bin/diesel");
    let version = Command::new(&program).arg("--version").output();
    if version.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains(DIESEL_CLI)) {
        return program;
    }
    eprintln!("installing diesel_cli {DIESEL_CLI} into {}", root.display());
    let build = root.join("build");
    let output = Command::new(env!("CARGO"))
        .args(["install", "--locked", "--force", "--version", DIESEL_CLI, "--no-default-features"])
        .args(["--features", "postgres,pq-sys/bundled_without_openssl", "diesel_cli"])
        .arg("--root")
        .arg(&root)
        .arg("--target-dir")
        .arg(&build)
        .output()
        .expect("cargo runs: it runs this test");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // It has served; if it stays, nothing but space is lost.
    let _ = fs::remove_dir_all(build);
    program
}

/// Counts a view of a post, which is made if there is none, and then the changes that were recorded of it.
fn changes_made_by_a_view(conn: &mut PgConnection) -> usize {
    conn.batch_execute(
        "INSERT INTO posts (id, organization_id, author_id, title, body) VALUES (1, 1, 1, 'Tides', '…') ON CONFLICT DO NOTHING",
    )
    .expect("the seeded user may write");
    let before = recorded_changes(conn);
    conn.batch_execute("UPDATE posts SET views = views + 1 WHERE id = 1").expect("it is there");
    recorded_changes(conn) - before
}

fn recorded_changes(conn: &mut PgConnection) -> usize {
    let count = ask(conn, "SELECT count(*)::text AS text FROM threadline.audit_changes");
    count.and_then(|count| count.parse().ok()).expect("a count is a number")
}

fn ask(conn: &mut PgConnection, query: &str) -> Option<String> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Nullable<Text>)]
        text: Option<String>,
    }
    diesel::sql_query(query).get_result::<Row>(conn).unwrap_or_else(|error| panic!("{error}: {query}")).text
}

/// rustfmt, where it is installed, has its way with what diesel_cli writes.
fn without_layout(schema: &str) -> String {
    schema.replace(char::is_whitespace, "").replace(",)", ")")
}

fn source(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(source(path)).expect("it is there")
}

fn copy(file: &Path, directory: &Path) {
    let target = directory.join(file);
    fs::create_dir_all(target.parent().expect("inside the folder")).expect("can be made");
    fs::copy(source(file), target).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
}
