//! For any writes, changes of a table and changes of its policy: what the policy hides of a column, or hid when the column was
//! dropped, no reading tells, however long before that it was captured.
//!
//! But for one thing nobody can know: a table that was altered, dumped and restored without a refresh in between, so that a column
//! has the name another one had.

use chrono::{DateTime, Utc};
use diesel::PgConnection;
use proptest::prelude::*;
use proptest::test_runner::Config;
use threadline::continuity;
use threadline::health::{self, FindingCode, HealthOptions};
use threadline::{Actor, ExportFormat, ExportOptions, FeedCursor, Filter, HistoryLimit, Trail, UndoTarget};
use threadline_tests::{audited_database, clock, row_key, run, table};

#[derive(Clone, Debug)]
enum Step {
    Write(i32),
    Delete(i32),
    Unseen(i32),
    Baseline,
    /// Which columns, of those there are, are masked and which are excluded.
    Policy {
        masked: u8,
        excluded: u8,
    },
    Refresh,
    Rename(usize, usize),
    Drop(usize),
    Add(usize),
    /// Its attribute stays, its type does not.
    Retype(usize),
    /// Another relation, whose attributes are numbered anew, takes the table's place with its rows and its triggers.
    Restore,
}

fn step() -> impl Strategy<Value = Step> {
    let row = 1..3_i32;
    prop_oneof![
        6 => row.clone().prop_map(Step::Write),
        1 => row.clone().prop_map(Step::Delete),
        1 => row.prop_map(Step::Unseen),
        2 => Just(Step::Baseline),
        4 => (any::<u8>(), any::<u8>()).prop_map(|(masked, excluded)| Step::Policy { masked, excluded }),
        2 => Just(Step::Refresh),
        3 => (0..NAMES.len(), 0..NAMES.len()).prop_map(|(from, to)| Step::Rename(from, to)),
        3 => (0..NAMES.len()).prop_map(Step::Drop),
        3 => (0..NAMES.len()).prop_map(Step::Add),
        1 => (0..NAMES.len()).prop_map(Step::Retype),
        3 => Just(Step::Restore),
    ]
}

/// As `pg_restore` leaves it.
const RESTORE: &str = "ALTER TABLE notes RENAME TO notes_before; CREATE TABLE notes (LIKE notes_before INCLUDING ALL); \
    INSERT INTO notes SELECT * FROM notes_before; DROP TABLE notes_before; \
    CREATE TRIGGER \"!threadline_capture\" AFTER INSERT OR UPDATE OR DELETE ON notes FOR EACH ROW EXECUTE FUNCTION threadline.capture_1(); \
    CREATE TRIGGER \"!threadline_truncate\" BEFORE TRUNCATE ON notes FOR EACH STATEMENT EXECUTE FUNCTION threadline.capture_truncate(1)";

const NAMES: [&str; 3] = ["a", "b", "c"];

/// A column as the test follows it through names and policies; its values begin with its number.
#[derive(Clone, Debug)]
struct Column {
    number: usize,
    /// `None` once it was dropped.
    name: Option<usize>,
    redacted: bool,
    /// After a restore it looks like another one, or another one like it.
    mistaken: bool,
}

impl Column {
    fn new(number: usize, name: usize) -> Self {
        Self { number, name: Some(name), redacted: false, mistaken: false }
    }

    fn value(&self, write: usize) -> String {
        format!("secret-{:02}-{write}", self.number)
    }

    fn mark(&self) -> String {
        format!("secret-{:02}-", self.number)
    }
}

/// The table, and what was ever in it.
struct Model {
    columns: Vec<Column>,
    /// Name and number of the columns when capture was compiled last.
    compiled: Vec<(usize, usize)>,
    restored: bool,
}

impl Model {
    fn new() -> Self {
        Self {
            columns: (0..2).map(|name| Column::new(name, name)).collect(),
            compiled: vec![(0, 0), (1, 1)],
            restored: false,
        }
    }

    fn named(&mut self, name: usize) -> Option<&mut Column> {
        self.columns.iter_mut().find(|column| column.name == Some(name))
    }

    fn add(&mut self, name: usize) {
        let number = self.columns.len();
        self.columns.push(Column::new(number, name));
    }

    /// Capture looks at the table as it is now.
    fn compile(&mut self) {
        let today: Vec<_> =
            self.columns.iter().filter_map(|column| Some((column.name?, column.number))).collect();
        if self.restored {
            for (name, number) in &today {
                for (_, other) in self.compiled.iter().filter(|(was, other)| was == name && other != number) {
                    self.columns[*number].mistaken = true;
                    self.columns[*other].mistaken = true;
                }
            }
        }
        (self.compiled, self.restored) = (today, false);
    }

    fn present(&self) -> impl Iterator<Item = (&Column, &'static str)> {
        self.columns.iter().filter_map(|column| Some((column, NAMES[column.name?])))
    }

    fn written(&self, row: i32, write: usize) -> String {
        let names: String = self.present().map(|(_, name)| format!(", {name}")).collect();
        let values: String =
            self.present().map(|(column, _)| format!(", '{}'", column.value(write))).collect();
        let set: Vec<String> = self
            .present()
            .map(|(_, name)| format!("{name} = EXCLUDED.{name}"))
            .chain(["n = EXCLUDED.n".to_owned()])
            .collect();
        format!(
            "INSERT INTO notes (id, n{names}) VALUES ({row}, {write}{values}) ON CONFLICT (id) DO UPDATE SET {}",
            set.join(", ")
        )
    }

    /// The statement of a step, `None` when it does nothing.
    fn take(&mut self, step: &Step, place: usize) -> Option<String> {
        match *step {
            Step::Write(row) => Some(self.written(row, place)),
            Step::Delete(row) => Some(format!("DELETE FROM notes WHERE id = {row}")),
            Step::Unseen(row) => Some(format!(
                "SET session_replication_role = replica; {}; RESET session_replication_role",
                self.written(row, place)
            )),
            Step::Baseline => None,
            Step::Policy { masked, excluded } => {
                self.compile();
                let is_in = |set: u8, name: usize| set & (1 << name) != 0;
                let list = |set: &dyn Fn(usize) -> bool| -> String {
                    let names =
                        self.columns.iter().filter_map(|column| column.name).filter(|name| set(*name));
                    names.map(|name| NAMES[name]).collect::<Vec<_>>().join(",")
                };
                let excludes = list(&|name| is_in(excluded, name));
                let masks = list(&|name| is_in(masked, name) && !is_in(excluded, name));
                for column in &mut self.columns {
                    if let Some(name) = column.name {
                        column.redacted = is_in(masked, name) || is_in(excluded, name);
                    }
                }
                Some(format!(
                    "SELECT threadline.attach('notes', exclude => '{{{excludes}}}', mask => '{{{masks}}}')"
                ))
            }
            Step::Refresh => {
                self.compile();
                Some("SELECT threadline.refresh('notes')".to_owned())
            }
            Step::Rename(from, to) => {
                if self.named(to).is_some() {
                    return None;
                }
                self.named(from)?.name = Some(to);
                Some(format!("ALTER TABLE notes RENAME {} TO {}", NAMES[from], NAMES[to]))
            }
            Step::Drop(name) => {
                self.named(name)?.name = None;
                Some(format!("ALTER TABLE notes DROP {}", NAMES[name]))
            }
            Step::Add(name) => {
                if self.named(name).is_some() {
                    return None;
                }
                self.add(name);
                Some(format!("ALTER TABLE notes ADD {} text", NAMES[name]))
            }
            Step::Retype(name) => {
                self.named(name)?;
                Some(format!("ALTER TABLE notes ALTER {} TYPE varchar", NAMES[name]))
            }
            Step::Restore => {
                self.restored = true;
                Some(RESTORE.to_owned())
            }
        }
    }
}

/// What every reading says, as a client would get it.
fn everything_told(conn: &mut PgConnection, instants: &[DateTime<Utc>]) -> String {
    fn json(value: &impl serde::Serialize) -> String {
        serde_json::to_string(value).expect("answers serialize")
    }
    let (trail, notes) = (Trail::unscoped(), table("notes"));
    let mut told = String::new();
    for row in [1, 2] {
        let key = row_key(&format!("id={row}"));
        told += &json(&trail.row_history(conn, &notes, &key, HistoryLimit::All).unwrap());
        for at in instants {
            told += &json(&trail.row_as_of(conn, &notes, &key, *at).unwrap());
            // A gap has no rows to tell.
            let _ = trail.table_as_of(conn, &notes, *at, |row| {
                told += &json(&row);
                Ok(())
            });
        }
        let undo = UndoTarget::Row { table: notes.clone(), key, to: instants[0] };
        if let Ok(plan) = trail.undo_plan(conn, &undo) {
            told += &json(&plan);
        }
    }
    told += &json(&trail.timeline(conn, &Filter::default()).unwrap());
    told += &json(&trail.read_feed(conn, &FeedCursor::beginning(), 10_000).unwrap());
    let mut exported = Vec::new();
    trail.export(conn, &Filter::default(), &ExportOptions::new(ExportFormat::Ndjson), &mut exported).unwrap();
    told += &String::from_utf8(exported).unwrap();
    told
}

#[test]
fn what_a_columns_policy_hides_stays_hidden_when_the_column_is_gone() {
    let config = Config { cases: 32, max_shrink_iters: 60, failure_persistence: None, ..Config::default() };
    proptest!(config, |(steps in prop::collection::vec(step(), 6..20))| {
        let db = audited_database();
        let conn = &mut db.connect();
        run(conn, "CREATE TABLE notes (id integer PRIMARY KEY, n integer, a text, b text)");
        run(conn, "SELECT threadline.attach('notes')");
        let mut model = Model::new();
        run(conn, &model.written(1, 1000));
        let mut instants = vec![clock(conn)];
        for (place, step) in steps.iter().enumerate() {
            match model.take(step, place) {
                Some(sql) => run(conn, &sql),
                None if matches!(step, Step::Baseline) => {
                    // Refused while capture is not compiled for the table as it is.
                    let _ = continuity::record_baseline(conn, &table("notes"), &Actor::admin(7), "a test");
                }
                None => continue,
            }
            instants.push(clock(conn));
        }
        let told = everything_told(conn, &instants);
        model.compile();
        for column in model.columns.iter().filter(|column| !column.mistaken) {
            let is_told = told.contains(&column.mark());
            prop_assert!(!(column.redacted && is_told), "{column:?} is told after {steps:?}");
        }
    });
}

/// It hides no more than it has to.
#[test]
fn of_dropped_columns_those_that_were_hidden_are_and_the_others_are_told() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, a text, b text, c text); SELECT threadline.attach('notes')",
    );
    run(conn, "INSERT INTO notes VALUES (1, 'open-1', 'secret-1', 'secret-2')");
    run(
        conn,
        "SELECT threadline.attach('notes', mask => '{b}', exclude => '{c}'); UPDATE notes SET a = 'open-2', b = 'x', c = 'y'",
    );
    run(conn, "ALTER TABLE notes DROP a, DROP b, DROP c");
    let now = clock(conn);
    let told = everything_told(conn, &[now]);
    assert!(told.contains("open-1") && told.contains("open-2") && !told.contains("secret"), "{told}");
    run(conn, "SELECT threadline.refresh('notes')");
    let told = everything_told(conn, &[now]);
    assert!(told.contains("open-1") && told.contains("open-2") && !told.contains("secret"), "{told}");
}

/// What looks like the column that was masked took its name and its place between a refresh and a dump.
#[test]
fn a_rule_lifted_after_a_restore_stays_for_what_was_captured_before_it() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, a text, b text); SELECT threadline.attach('notes')",
    );
    run(
        conn,
        "INSERT INTO notes VALUES (1, 'open-1', 'secret-1'); SELECT threadline.attach('notes', mask => '{b}')",
    );
    run(conn, "ALTER TABLE notes DROP b; ALTER TABLE notes ADD b text");
    run(conn, RESTORE);
    run(conn, "SELECT threadline.refresh('notes'); SELECT threadline.attach('notes')");
    run(conn, "UPDATE notes SET b = 'open-2'");
    let now = clock(conn);
    let told = everything_told(conn, &[now]);
    assert!(told.contains("open-1") && told.contains("open-2") && !told.contains("secret-1"), "{told}");
}

/// A capture function compiled for a column does not take another of its name and type for it.
#[test]
fn a_column_that_took_the_name_type_and_place_of_another_is_another() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id integer PRIMARY KEY, b text); SELECT threadline.attach('notes')");
    run(conn, "INSERT INTO notes VALUES (1, 'open-1')");
    run(conn, "ALTER TABLE notes DROP b; ALTER TABLE notes ADD b text");
    let findings = health::findings(conn, &HealthOptions::default()).unwrap();
    assert!(findings.iter().any(|finding| finding.code == FindingCode::StaleFunction), "{findings:?}");
    run(conn, "UPDATE notes SET b = 'secret-1'");
    run(conn, "SELECT threadline.attach('notes', exclude => '{b}'); ALTER TABLE notes DROP b");
    let now = clock(conn);
    let told = everything_told(conn, &[now]);
    assert!(told.contains("open-1") && !told.contains("secret-1"), "{told}");
}
