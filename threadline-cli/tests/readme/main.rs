//! The README, taken at its word: its snippets, in order, in a new package, on an empty database.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use diesel::connection::SimpleConnection;
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use tempfile::TempDir;
use threadline::{HistoryLimit, RowKey, TableName, Trail};
use threadline_devdb::TestDatabase;

const REPOSITORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[test]
fn an_application_is_audited_by_following_the_readme() {
    let readme = Readme::read();
    let db = TestDatabase::empty();
    let host = TempDir::new().expect("a temporary directory");
    let migrations = host.path().join("migrations");
    let sql = readme.blocks("sql");
    let [table, sql @ ..] = sql.as_slice() else { panic!("the README begins with a table") };

    write(&migrations.join("2026-01-31-120000_create_posts/up.sql"), table);
    write(&host.path().join("src/main.rs"), &readme.blocks("rust").join("\n"));
    write(&host.path().join("Cargo.toml"), &manifest());
    fs::copy(format!("{REPOSITORY}/Cargo.lock"), host.path().join("Cargo.lock")).expect("can be copied");

    for line in readme.blocks("sh").iter().flat_map(|block| block.lines()) {
        match line.split_once(' ').expect("a command and its arguments") {
            ("threadline", verb) => {
                done(Command::new(env!("CARGO_BIN_EXE_threadline")).arg(verb).current_dir(host.path()));
            }
            // diesel_cli reads the same files in the same way; that it does is held by a test of the example.
            ("diesel", "migration run") => {
                let source = FileBasedMigrations::from_path(&migrations).expect("a migrations folder");
                db.connect().run_pending_migrations(source).expect("the migrations run");
            }
            _ => panic!("this test does not know `{line}`"),
        }
    }

    let printed = done(program(host.path()).env("DATABASE_URL", db.url()));
    assert_eq!(printed, readme.block_after("It prints:"));

    // Roles belong to the server, which may be shared: this one is named after the database, and dropped again.
    let role = format!("{}_support", db.name());
    let conn = &mut db.connect();
    for block in sql {
        let block = block.replace("support", &role);
        conn.batch_execute(&block).unwrap_or_else(|error| panic!("{error}: {block}"));
    }
    conn.batch_execute(&format!("SET ROLE {role}")).expect("the README has created it");
    let posts = TableName::new(None, "posts");
    let key = RowKey::new([("id", "1")]).expect("one column");
    let history =
        Trail::unscoped().row_history(conn, &posts, &key, HistoryLimit::All).expect("the role may read");
    conn.batch_execute(&format!("RESET ROLE; DROP OWNED BY {role}; DROP ROLE {role}"))
        .expect("can be dropped");

    let actors: Vec<Option<&str>> = history
        .versions
        .iter()
        .map(|version| version.transaction.as_ref().and_then(|transaction| transaction.actor_id.as_deref()))
        .collect();
    assert_eq!(actors, [Some("night-shift"), Some("42"), None]);
    assert!(history.versions.iter().all(|version| !version.gap && version.after.present().is_some()));
}

#[test]
fn what_the_readme_links_to_is_there() {
    let text = Readme::read().text;
    let links: Vec<&str> = text.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert!(links.len() > 5, "{links:?}");
    for link in links {
        assert!(Path::new(REPOSITORY).join(link).exists(), "{link}");
    }
}

struct Readme {
    text: String,
}

impl Readme {
    fn read() -> Self {
        Self { text: fs::read_to_string(format!("{REPOSITORY}/README.md")).expect("it is there") }
    }

    /// The blocks of one language, in order.
    fn blocks(&self, language: &str) -> Vec<String> {
        let fence = format!("\n```{language}\n");
        let rests = self.text.split(&fence).skip(1);
        rests
            .map(|rest| rest.split_inclusive("```\n").next().expect("never empty").replace("```\n", ""))
            .collect()
    }

    /// The first block of text after a sentence.
    fn block_after(&self, sentence: &str) -> String {
        let (_, rest) = self.text.split_once(sentence).expect("the README has this sentence");
        Self { text: rest.to_owned() }.blocks("text").remove(0)
    }
}

/// As the README says, with a libpq of its own and the profile of this workspace, whose artifacts are then used again.
fn manifest() -> String {
    format!(
        r#"[package]
name = "host"
version = "0.0.0"
edition = "2024"

[workspace]

[dependencies]
threadline = {{ path = "{REPOSITORY}/threadline" }}
chrono = "0.4"
diesel = {{ version = "2.3", default-features = false, features = ["postgres", "chrono"] }}
pq-sys = {{ version = "0.7", features = ["bundled_without_openssl"] }}

[profile.dev]
debug = "line-tables-only"

[profile.dev.package."*"]
debug = false
"#
    )
}

/// Builds and runs the package, in the target folder this test was built in.
fn program(host: &Path) -> Command {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("it is inside the target folder");
    let mut command = Command::new(env!("CARGO"));
    command.args(["run", "--quiet", "--target-dir"]).arg(target).current_dir(host);
    command
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("inside the host")).expect("can be made");
    fs::write(path, text).expect("can be written");
}

/// Standard output of a command that has to succeed.
fn done(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().expect("it is installed");
    assert!(status.success(), "{command:?}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).expect("UTF-8")
}
