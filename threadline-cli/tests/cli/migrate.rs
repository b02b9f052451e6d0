//! `threadline migrate`: the audit schema without files.

use threadline::CORE_MIGRATIONS;
use threadline_devdb::TestDatabase;

use crate::host::Run;
use crate::sample::{Sample, bare, finished};
use crate::schemas::assert_documented;

fn migrate(db: &TestDatabase, arguments: &[&str]) -> Run {
    let arguments = [&["migrate"], arguments].concat();
    finished(bare(&arguments).env("DATABASE_URL", db.url()))
}

#[test]
fn it_installs_what_is_missing_and_says_so() {
    let sample = Sample { db: TestDatabase::empty() };
    let count = CORE_MIGRATIONS.len();
    for arguments in [&["--dry-run"][..], &["--check"]] {
        let run = migrate(&sample.db, arguments);
        assert_eq!(run.stdout.matches("pending").count(), count, "{}", run.stdout);
        assert_eq!(run.code, Some(i32::from(arguments[0] == "--check")));
    }
    assert_eq!(
        sample.text("SELECT count(*) FROM pg_class WHERE relname = '__diesel_schema_migrations'"),
        "0"
    );
    let run = migrate(&sample.db, &[]);
    assert_eq!((run.code, run.stdout.matches("run").count()), (Some(0), count), "{}", run.stderr);
    sample.run_sql("CREATE TABLE posts (id bigint PRIMARY KEY); SELECT threadline.attach('posts')");
    let run = migrate(&sample.db, &["--check", "--json"]);
    assert_eq!(run.code, Some(0));
    let document = serde_json::from_str(&run.stdout).expect("JSON");
    assert_documented("migrate", &document);
    assert_eq!(run.stdout.matches("applied").count(), count, "{}", run.stdout);
}

#[test]
fn what_was_installed_from_files_is_left_to_diesel() {
    let sample = Sample::empty();
    sample.run_sql(
        "UPDATE __diesel_schema_migrations SET version = replace(replace(version, '.', ''), 'threadline', '2026')",
    );
    let run = migrate(&sample.db, &[]);
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("was installed from files"), "{}", run.stderr);
}

#[test]
fn after_a_failed_migration_the_next_run_goes_on_there() {
    let sample = Sample { db: TestDatabase::empty() };
    sample.run_sql(
        "CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN
             IF EXISTS (SELECT FROM pg_event_trigger_ddl_commands() WHERE object_identity LIKE '%.feed_page(%') THEN
                 RAISE EXCEPTION 'not today';
             END IF;
         END $$;
         CREATE EVENT TRIGGER refuse ON ddl_command_end EXECUTE FUNCTION refuse()",
    );
    let run = migrate(&sample.db, &[]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    assert!(
        run.stderr.contains("threadline_feed` could not be run; those before it stay: not today"),
        "{}",
        run.stderr
    );
    sample.run_sql("DROP EVENT TRIGGER refuse");
    let run = migrate(&sample.db, &[]);
    let states: Vec<&str> =
        run.stdout.lines().skip(1).filter_map(|line| line.split_whitespace().last()).collect();
    let feed =
        CORE_MIGRATIONS.iter().position(|migration| migration.name == "feed").expect("there is a feed");
    assert!(states[..feed].iter().all(|state| *state == "applied"), "{states:?}");
    assert!(states[feed..].iter().all(|state| *state == "run"), "{states:?}");
}
