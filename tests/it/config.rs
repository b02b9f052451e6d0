//! `threadline.toml`: what is in force is what the file says, and what is wrong with it is said at once and in its place.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use insta::assert_snapshot;
use proptest::prelude::*;
use threadline::TableName;
use threadline::config::{
    CONFIG_VARIABLE, Config, ConfigError, Exports, IgnoredTable, Storage, Tables, Worker,
};
use threadline::retention::RetentionPolicy;

const DAY: Duration = Duration::from_secs(86_400);

/// A file with every key, as the guide shows it.
const WHOLE: &str = r#"
[tables]
expected = ["public.posts"]
ignored = [{ table = "public.sessions", reason = "no business data" }]
scope_column = "organization_id"

[retention]
keep = "400 days"
minimum = "30 days"
actions = { "login.failed" = "90 days" }
tables = { "public.page_views" = "60 days", "public.invoices" = "10 years" }
exports = "7 days"
evidence = "10 years"
access_log = "1 year"
runs = "2 years"
archive = true
batch_rows = 5000
pause = "50ms"
lock_timeout = "500ms"
statement_timeout = "30s"

[exports]
max_rows = 1000000

[storage]
url = "file:///var/lib/threadline"

[worker]
partitions_every = "1 day"
retention_every = "1 hour"
exports_every = "5s"
health_every = "15min"
"#;

fn table(name: &str) -> TableName {
    TableName::new(Some("public"), name)
}

/// The problems of a text, one to a line.
fn problems(text: &str) -> String {
    let error = Config::parse(text).expect_err("something is wrong");
    error.problems().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_file_and_the_builder_say_the_same() {
    let year = Duration::from_secs(31_557_600);
    let built = Config::builder()
        .tables(
            Tables::new()
                .expected(table("posts"))
                .ignored(table("sessions"), "no business data")
                .scope_column("organization_id"),
        )
        .retention(
            RetentionPolicy::new()
                .keep(400 * DAY)
                .minimum(30 * DAY)
                .action("login.failed", 90 * DAY)
                .table(table("page_views"), 60 * DAY)
                .table(table("invoices"), 10 * year)
                .exports(7 * DAY)
                .evidence(10 * year)
                .access_log(year)
                .runs(2 * year)
                .batch_rows(5_000)
                .pause(Duration::from_millis(50))
                .lock_timeout(Duration::from_millis(500))
                .statement_timeout(Duration::from_secs(30)),
        )
        .archive(true)
        .exports(Exports::new().max_rows(1_000_000))
        .storage(Storage::new().url("file:///var/lib/threadline"))
        .worker(
            Worker::new()
                .partitions_every(DAY)
                .retention_every(DAY / 24)
                .exports_every(Duration::from_secs(5))
                .health_every(Duration::from_secs(900)),
        )
        .build()
        .unwrap();
    assert_eq!(Config::parse(WHOLE).unwrap(), built);
    assert_eq!(Config::parse("").unwrap(), Config::default());
}

#[test]
fn what_is_in_force_is_shown_with_its_defaults() {
    assert_snapshot!(Config::default().to_toml(), @r##"
    [tables]
    expected = []
    ignored = []
    # scope_column is not set: no column has to be a scope

    [retention]
    # keep is not set: for ever
    minimum = "30 days"
    exports = "7 days"
    # evidence is not set: for ever
    # access_log is not set: for ever
    # runs is not set: for ever
    archive = false
    batch_rows = 5000
    pause = "50ms"
    lock_timeout = "500ms"
    statement_timeout = "30s"

    [retention.actions]

    [retention.tables]

    [exports]
    max_rows = 1000000

    [storage]
    # url is not set: nothing can be stored

    [worker]
    partitions_every = "1 day"
    retention_every = "1h"
    exports_every = "5s"
    health_every = "15min"
    "##);
    assert_snapshot!(Config::parse(WHOLE).unwrap().to_toml(), @r##"
    [tables]
    expected = [
        "public.posts",
    ]
    ignored = [
        { table = "public.sessions", reason = "no business data" },
    ]
    scope_column = "organization_id"

    [retention]
    keep = "400 days"
    minimum = "30 days"
    exports = "7 days"
    evidence = "10 years"
    access_log = "1 year"
    runs = "2 years"
    archive = true
    batch_rows = 5000
    pause = "50ms"
    lock_timeout = "500ms"
    statement_timeout = "30s"

    [retention.actions]
    "login.failed" = "90 days"

    [retention.tables]
    "public.invoices" = "10 years"
    "public.page_views" = "60 days"

    [exports]
    max_rows = 1000000

    [storage]
    url = "file:///var/lib/threadline"

    [worker]
    partitions_every = "1 day"
    retention_every = "1h"
    exports_every = "5s"
    health_every = "15min"
    "##);
}

#[test]
fn every_mistake_is_named_at_once_with_its_line_and_what_is_allowed() {
    let text = r#"
keep = "1 year"
retension = { keep = "1 year" }
worker = "often"

[tables]
expected = ["public.posts", "\"public\".posts", "posts", "a.b.c", 7]
ignored = [
    { table = "public.posts", reason = "decided against" },
    { table = "public.sessions", reason = "" },
    { table = "public.jobs" },
    { table = "public.x", reasons = "typing" },
    "public.y",
    { table = "threadline.audit_changes", reason = "ours" },
    { table = "public.ein_name_der_laenger_ist_als_dreiundsechzig_byte_in_der_datenbank", reason = "long" },
]
scope_column = " organization_id"
expect = []

[retention]
kep = "400 days"
keep = "0s"
minimum = 30
actions = { "" = "1 year", "login.failed" = "ninety days" }
tables = { "public.sessions" = "60 days", "public.page_views" = "2000 years", "\"public\".page_views" = "1 year" }
evidence = "1s 1"
archive = "yes"
batch_rows = 0
pause = "2 days"
lock_timeout = "1h"
statement_timeout = "1500us"
database_password = "hunter2"
access_log = true

[exports]
max_rows = -1
retention = "7 days"

[storage]
url = "s3://AKIAPLANTED:hunter2@bucket/prefix"
secret_access_key = "hunter2"
endpoint = "https://user:hunter2@minio.internal"

[database]
url = "postgres://app:hunter2@db/blog"
pool = { api-key = "hunter2" }
"#;
    let error = Config::parse(text).unwrap_err();
    assert!(!format!("{error} {error:?}").contains("hunter2"), "a secret is shown: {error}");
    assert_snapshot!(error, @r##"
    the configuration has 40 problems
      line 2: keep: is not a key outside of a section; it belongs into `[retention]`
      line 3: retension: is not a section; did you mean `retention`?
      line 4: worker: is a text; write a section, `[worker]`
      line 7: tables.expected[1]: is the table `public.posts`, which `tables.expected[0]` names already; leave one of them out
      line 7: tables.expected[2]: may be the table `public.posts`, which `tables.expected[0]` names already; leave one of them out, or name both with their schemas
      line 7: tables.expected[3]: is not the name of a table; write `schema.table` as they are spelt in the database; a name with a dot is quoted as in SQL
      line 7: tables.expected[4]: is a whole number; write a table's name in quotes
      line 9: tables.ignored[0].table: is the table `public.posts` of `tables.expected[0]`, and an ignored table has no changes to expect or to keep; decide for one
      line 10: tables.ignored[1].reason: is empty; say in a sentence why the table need not be audited
      line 11: tables.ignored[2].reason: is missing; write { table = "public.sessions", reason = "why" }
      line 12: tables.ignored[3].reason: is missing; write { table = "public.sessions", reason = "why" }
      line 12: tables.ignored[3].reasons: is not a key of an ignored table; did you mean `reason`?
      line 13: tables.ignored[4]: is a text; write { table = "public.sessions", reason = "why" }
      line 14: tables.ignored[5].table: is in schema "threadline", whose tables are never audited; remove it
      line 15: tables.ignored[6].table: has a name longer than the 63 bytes that PostgreSQL keeps; write `schema.table` as they are spelt in the database; a name with a dot is quoted as in SQL
      line 17: tables.scope_column: has a name that begins or ends with a space; write a column's name as it is spelt in the database
      line 18: tables.expect: is not a key of this section; did you mean `expected`?
      line 21: retention.kep: is not a key of this section; did you mean `keep`?
      line 22: retention.keep: is zero; 1s to 1000 years is allowed
      line 23: retention.minimum: is a whole number; write a duration in quotes, such as "400 days", "1h 30min" or "500ms"
      line 24: retention.actions."": is the window of an action whose name is empty; name an action
      line 24: retention.actions."login.failed": is not a duration; write a duration in quotes, such as "400 days", "1h 30min" or "500ms"
      line 25: retention.tables."public.page_views": names a table that is named before; leave one of them out
      line 25: retention.tables."public.sessions": is the table `public.sessions` of `tables.ignored[1].table`, and an ignored table has no changes to expect or to keep; decide for one
      line 26: retention.evidence: is not a duration; write a duration in quotes, such as "400 days", "1h 30min" or "500ms"
      line 27: retention.archive: is a text; write true or false
      line 28: retention.batch_rows: is zero; 1 to 100000 are allowed
      line 29: retention.pause: is too long; 0s to 1h is allowed
      line 31: retention.statement_timeout: is not a whole number of milliseconds; PostgreSQL counts in milliseconds
      line 32: retention.database_password: looks like a credential; credentials are not written here; set them in the environment (DATABASE_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)
      line 33: retention.access_log: is true or false; write a duration in quotes, such as "400 days", "1h 30min" or "500ms"
      line 36: exports.max_rows: is a number out of range; 1 to 1000000000 are allowed
      line 37: exports.retention: is not a key of this section; its keys are max_rows
      line 40: storage.url: has a URL with a user or password in it; credentials are not written here; set them in the environment (DATABASE_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)
      line 41: storage.secret_access_key: looks like a credential; credentials are not written here; set them in the environment (DATABASE_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)
      line 42: storage.endpoint: is not a key of this section; its keys are url
      line 42: storage.endpoint: has a URL with a user or password in it; credentials are not written here; set them in the environment (DATABASE_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)
      line 44: database: is not a section; the sections are tables, retention, exports, storage, worker
      line 45: database.url: has a URL with a user or password in it; credentials are not written here; set them in the environment (DATABASE_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)
      line 46: database.pool.api-key: looks like a credential; credentials are not written here; set them in the environment (DATABASE_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY)
    "##);
}

#[test]
fn values_that_are_sound_alone_may_contradict_each_other() {
    assert_snapshot!(problems(r#"
[tables]
expected = ["public.posts", "comments", "blog.tags"]
ignored = [
    { table = "public.posts", reason = "decided against" },
    { table = "public.comments", reason = "decided against" },
    { table = "shop.tags", reason = "another schema's, and fine" },
]

[retention]
keep = "20 days"
archive = true
actions = { "login.failed" = "1 day" }
tables = { "public.page_views" = "29 days", "shop.tags" = "1 year", page_views = "40 days" }
lock_timeout = "30s"
"#), @r##"
    line 5: tables.ignored[0].table: is the table `public.posts` of `tables.expected[0]`, and an ignored table has no changes to expect or to keep; decide for one
    line 6: tables.ignored[1].table: may be the table `comments` of `tables.expected[1]`, and an ignored table has no changes to expect or to keep; decide for one, or name both with their schemas
    line 11: retention.keep: is shorter than `retention.minimum`, 30 days; lengthen it, or lower the minimum
    line 12: retention.archive: has nowhere to archive to; set `storage.url`, or do not archive
    line 13: retention.actions."login.failed": is shorter than `retention.minimum`, 30 days; lengthen it, or lower the minimum
    line 14: retention.tables."public.page_views": may be the table `page_views`, which `retention.tables.page_views` names already; leave one of them out, or name both with their schemas
    line 14: retention.tables."public.page_views": is shorter than `retention.minimum`, 30 days; lengthen it, or lower the minimum
    line 14: retention.tables."shop.tags": is the table `shop.tags` of `tables.ignored[2].table`, and an ignored table has no changes to expect or to keep; decide for one
    line 15: retention.lock_timeout: is not shorter than `retention.statement_timeout`, 30s; the statement would end first; shorten it
    "##);
}

#[test]
fn a_value_that_could_not_be_read_contradicts_nothing() {
    assert_eq!(
        problems("storage = 1\n[retention]\narchive = true\nminimum = \"soon\"\nkeep = \"1 day\""),
        "line 1: storage: is a whole number; write a section, `[storage]`\n\
         line 4: retention.minimum: is not a duration; write a duration in quotes, such as \"400 days\", \"1h 30min\" or \"500ms\""
    );
}

#[test]
fn a_text_that_is_no_toml_yields_its_errors_of_syntax_with_their_lines() {
    assert_snapshot!(problems("[retention]\nkeep = 400 days\n[tables\nkep = 1"), @r##"
    line 2: string values must be quoted, expected literal string; see https://toml.io for what a file may look like
    line 3: unclosed table, expected `]`; see https://toml.io for what a file may look like
    "##);
    // What is set twice is no riddle, so the rest is looked into.
    assert_snapshot!(problems("[retention]\nkeep = \"1 year\"\nkeep = \"2 years\"\nkep = 1"), @r##"
    line 3: duplicate key; see https://toml.io for what a file may look like
    line 4: retention.kep: is not a key of this section; did you mean `keep`?
    "##);
}

#[test]
fn a_url_with_a_credential_in_it_is_refused_wherever_it_stands_and_never_shown() {
    for url in [
        "s3://key:hunter2@bucket",
        "file://hunter2@/var",
        "postgres://hunter2@db/x",
        "see http://a:hunter2@b ok",
    ] {
        let storage = Storage::new().url(url);
        assert!(!format!("{storage:?}").contains("hunter2"));
        let error = Config::builder().storage(storage).build().unwrap_err();
        assert!(
            error.to_string().contains("environment") && !error.to_string().contains("hunter2"),
            "{error}"
        );
        let text = format!("[tables]\nignored = [{{ table = \"public.x\", reason = \"{url}\" }}]");
        let said = problems(&text);
        assert!(said.contains("line 2: tables.ignored[0].reason") && !said.contains("hunter2"), "{said}");
    }
    for url in [
        "var/lib",
        "file://var/lib",
        "file:///var/../etc",
        "s3://",
        "s3://Bucket",
        "s3://b",
        "gs://bucket",
        "s3://bucket/x?X-Amz-Signature=hunter2",
        "file:///a b",
    ] {
        let error = Config::builder().storage(Storage::new().url(url)).build().expect_err(url);
        assert!(error.problems().iter().all(|problem| problem.key() == "storage.url"), "{error}");
        assert!(!error.to_string().contains("hunter2"));
    }
    for url in ["file:///", "file:///var/lib/threadline", "s3://bucket", "s3://my.bucket-1/a/b%20c"] {
        Config::builder().storage(Storage::new().url(url)).build().expect(url);
    }
}

#[test]
fn the_nearest_file_upwards_is_the_one() {
    let root = tempfile::tempdir().unwrap();
    let [outer, inner, other] =
        ["outer", "outer/inner/deep", "outer/other"].map(|name| root.path().join(name));
    fs::create_dir_all(&inner).unwrap();
    fs::create_dir_all(&other).unwrap();
    let keep = |days: u32| format!("[retention]\nkeep = \"{days} days\"");
    assert_eq!(Config::find(&inner).unwrap(), None, "no directory above the temporary ones has a file");
    assert_eq!(Config::discover(&inner).unwrap(), Config::default());
    fs::write(outer.join("threadline.toml"), keep(100)).unwrap();
    assert_eq!(Config::discover(&inner).unwrap().retention.keep, Some(100 * DAY));
    fs::write(outer.join("inner/threadline.toml"), keep(200)).unwrap();
    assert_eq!(Config::discover(&inner).unwrap().retention.keep, Some(200 * DAY));
    assert_eq!(Config::discover(inner.join("../../other")).unwrap().retention.keep, Some(100 * DAY));
    // What is there and cannot be used is not passed by.
    fs::create_dir(inner.join("threadline.toml")).unwrap();
    assert!(matches!(Config::discover(&inner), Err(ConfigError::Unreadable { .. })));
    std::os::unix::fs::symlink("nowhere", other.join("threadline.toml")).unwrap();
    assert!(matches!(Config::discover(&other), Err(ConfigError::Unreadable { .. })));
    assert!(matches!(Config::discover(root.path().join("missing")), Err(ConfigError::Unreadable { .. })));
    fs::write(outer.join("threadline.toml"), "keep = 1").unwrap();
    let error = Config::discover(&outer).unwrap_err();
    assert!(error.to_string().contains("outer/threadline.toml"), "{error}");
}

/// Not run by itself: another test runs it in a process with an environment of its own.
#[test]
#[ignore = "run by the_environment_names_another_file"]
fn shows_the_window_it_discovers() {
    match Config::discover(".") {
        Ok(config) => println!("discovered {:?}", config.retention.keep),
        Err(error) => println!("discovered {error}"),
    }
}

#[test]
fn the_environment_names_another_file() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("threadline.toml"), "[retention]\nkeep = \"100 days\"").unwrap();
    fs::write(root.path().join("other.toml"), "[retention]\nkeep = \"200 days\"").unwrap();
    let discovered = |named: Option<&Path>| {
        let mut command = Command::new(env::current_exe().unwrap());
        command.args(["--exact", "config::shows_the_window_it_discovers", "--ignored", "--nocapture"]);
        command.current_dir(root.path()).env_remove(CONFIG_VARIABLE);
        if let Some(named) = named {
            command.env(CONFIG_VARIABLE, named);
        }
        let output = String::from_utf8(command.output().unwrap().stdout).unwrap();
        let line =
            output.lines().find_map(|line| line.split_once("discovered ")).map(|(_, said)| said.to_owned());
        line.unwrap_or_else(|| panic!("{output}"))
    };
    assert_eq!(discovered(None), format!("{:?}", Some(100 * DAY)));
    assert_eq!(discovered(Some(Path::new(""))), format!("{:?}", Some(100 * DAY)));
    assert_eq!(discovered(Some(&root.path().join("other.toml"))), format!("{:?}", Some(200 * DAY)));
    assert_eq!(discovered(Some(Path::new("missing.toml"))), "configuration `missing.toml` cannot be read");
}

/// Names PostgreSQL can have, odd ones among them.
fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => "[a-z_]{1,12}",
        1 => r#"[a-zA-Z0-9."'\\ äß\[\]{}#=-]{1,20}"#,
    ]
    .prop_filter("no name begins or ends with a space", |name| name.trim() == name.as_str())
}

fn any_table() -> impl Strategy<Value = TableName> {
    (prop::option::of(name()), name())
        .prop_map(|(schema, name)| TableName::new(schema.as_deref(), &name))
        .prop_filter("the schema is a host's", |table| {
            table.schema().is_none_or(|schema| !schema.starts_with("pg_") && schema != "threadline")
        })
}

/// From `shortest` seconds to a thousand years, in all units.
fn window(shortest: u64) -> impl Strategy<Value = Duration> {
    prop_oneof![
        (1..1_000_u64).prop_map(|years| Duration::from_secs(years * 31_557_600)),
        (31..100_000_u64).prop_map(|days| Duration::from_secs(days * 86_400)),
        (shortest..31_557_600_000).prop_map(Duration::from_secs),
        (shortest..31_557_599_999, 0..1_000_000_000_u32).prop_map(|(secs, nanos)| Duration::new(secs, nanos)),
    ]
}

fn any_config() -> impl Strategy<Value = Config> {
    // Tables of one name are not among them, for two of those may contradict each other.
    let tables = (
        prop::collection::btree_map("[a-z]{1,8}", prop::option::of(name()), 0..6),
        prop::collection::vec((any_table(), "[^\\p{C}]{1,40}"), 0..3),
        prop::option::of(name()),
    );
    let windows = (
        prop::option::of(window(2_592_000)),
        0..2_592_000_u64,
        prop::collection::btree_map("[^\\p{C}]{1,20}", window(2_592_000), 0..4),
        prop::collection::btree_map("[A-Z]{1,8}", window(2_592_000), 0..4),
        window(1),
        prop::option::of(window(1)),
        prop::option::of(window(1)),
        prop::option::of(window(1)),
    );
    let limits =
        (any::<bool>(), 1..=100_000_u32, 0..3_600_000_000_000_u64, 1..1_000_u64, 1_001..=3_600_000_u64);
    let rest = (
        1..=1_000_000_000_u64,
        prop_oneof!["file:///[a-zß'\"\\\\/]{0,20}", "s3://[a-z0-9.-]{3,63}(/[a-z]{0,9})?"],
        prop::array::uniform4(1..=2_592_000_u64),
    );
    (tables, windows, limits, rest).prop_map(|(tables, windows, limits, rest)| {
        let (expected, ignored, scope_column) = tables;
        let mut config = Config::default();
        config.tables.expected = expected
            .into_iter()
            .map(|(name, schema)| {
                TableName::new(schema.filter(|schema| !schema.starts_with("pg_")).as_deref(), &name)
            })
            .collect();
        let unlike: BTreeMap<String, IgnoredTable> = ignored
            .into_iter()
            .filter(|(table, reason)| {
                !reason.trim().is_empty() && !reason.contains("://") && table.name().len() > 8
            })
            .map(|(table, reason)| (table.name().to_owned(), IgnoredTable::new(table, reason)))
            .collect();
        config.tables.ignored = unlike.into_values().collect();
        config.tables.scope_column = scope_column;
        let (keep, minimum, actions, tables, exports, evidence, access_log, runs) = windows;
        config.retention.keep = keep;
        config.retention.minimum = Duration::from_secs(minimum);
        config.retention.actions = actions;
        config.retention.tables =
            tables.into_iter().map(|(name, window)| (TableName::new(None, &name), window)).collect();
        config.retention.exports = exports;
        (config.retention.evidence, config.retention.access_log, config.retention.runs) =
            (evidence, access_log, runs);
        let (archive, batch_rows, pause, lock, statement) = limits;
        config.archive = archive;
        config.retention.batch_rows = batch_rows;
        config.retention.pause = Duration::from_nanos(pause);
        config.retention.lock_timeout = Duration::from_millis(lock);
        config.retention.statement_timeout = Duration::from_millis(statement);
        let (max_rows, url, intervals) = rest;
        config.exports.max_rows = max_rows;
        config.storage.url = Some(url);
        let [partitions, retention, exports, health] = intervals.map(Duration::from_secs);
        config.worker = Worker::new()
            .partitions_every(partitions)
            .retention_every(retention)
            .exports_every(exports)
            .health_every(health);
        config
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_in_force_reads_back_as_it_is(config in any_config()) {
        prop_assert_eq!(config.check(), Ok(()));
        let text = config.to_toml();
        prop_assert_eq!(Config::parse(&text), Ok(config), "{}", text);
    }

    #[test]
    fn no_text_makes_reading_panic_and_no_misspelt_key_is_passed_over(
        text in "[\\[\\]{}=\"'a-z.,\n 0-9#]{0,60}",
        line in 0..27_usize,
        letter in "[a-z]",
    ) {
        let _ = Config::parse(&text);
        let keys: Vec<&str> = WHOLE.lines().filter(|line| line.contains(" = ")).collect();
        let line = keys[line % keys.len()];
        let wrong = WHOLE.replacen(line, &format!("{letter}{line}"), 1);
        let error = Config::parse(&wrong).expect_err(&wrong);
        let key = format!("{letter}{}", line.split(' ').next().unwrap());
        prop_assert!(error.problems().iter().any(|problem| problem.key().ends_with(&key)), "{}", error);
    }
}
