//! The archive: what leaves is in it, whole, before it leaves, and comes back for reading.

use std::fs;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use diesel::PgConnection;
use threadline::retention::{self, Archive, LocalArchive, RetentionPolicy, RetentionRun};
use threadline::{AsOf, Error, Filter, Trail};
use threadline_tests::{as_of, audited_database, clock, run, table, text, texts};

use super::{count, operator, policy, split_time};

/// A directory of one test's own.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let dir = std::env::temp_dir().join(format!("threadline-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        Self(dir)
    }

    fn archive(&self) -> LocalArchive {
        LocalArchive::new(&self.0)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn retain_to(
    conn: &mut PgConnection,
    policy: &RetentionPolicy,
    archive: &mut dyn Archive,
) -> Result<RetentionRun, Error> {
    retention::run(conn, policy, &operator(), Some(archive), &mut |_| ControlFlow::Continue(()))
}

/// Rows with everything a payload can hold, over three months that have ended.
fn fill(conn: &mut PgConnection, each: Duration, step: Duration) -> Vec<chrono::DateTime<chrono::Utc>> {
    run(
        conn,
        "CREATE TABLE notes (id integer PRIMARY KEY, body text, meta json, n numeric, at timestamptz, blob bytea, tags text[]);
        SELECT threadline.attach('notes', mask => '{tags}', scope => 'n')",
    );
    split_time(conn, 3, each);
    let mut instants = Vec::new();
    for n in 0..9 {
        run(
            conn,
            &format!(
                "BEGIN; SELECT threadline.set_context('{{\"actor\": {{\"type\": \"user\", \"id\": \"{n}\"}}, \"meta\": {{\"k\": [1.50, null]}}}}');
                SELECT threadline.record_action('{{\"actor\": {{\"type\": \"user\", \"id\": \"{n}\"}}}}', '{{\"name\": \"note.written\", \"comment\": \"a\\nb\"}}');
                INSERT INTO notes VALUES ({n}, E'line\\nfeed \\\\ \"quote\" \\u2028 é', '{{\"a\":\n 1.0}}', 1.50, now(), '\\x00ff', '{{a,NULL}}');
                UPDATE notes SET body = body || '!', id = id + 100 WHERE id = {n} - 1; DELETE FROM notes WHERE id = 102; COMMIT"
            ),
        );
        instants.push(clock(conn));
        thread::sleep(step);
    }
    thread::sleep(each);
    instants
}

fn everything(conn: &mut PgConnection) -> Vec<String> {
    let tables = texts(conn, "SELECT unnest(threadline.trail_tables())");
    let mut all = Vec::new();
    for table in tables {
        // Row by row as the database itself prints them: every byte counts.
        all.extend(texts(
            conn,
            &format!("SELECT '{table} ' || r::text FROM threadline.{table} r ORDER BY 1"),
        ));
    }
    all
}

#[test]
fn an_archived_month_comes_back_to_the_byte_and_goes_again() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("round-trip");
    let instants = fill(conn, Duration::from_millis(150), Duration::from_millis(28));
    let before = everything(conn);
    let answers: Vec<_> =
        instants.iter().map(|at| format!("{:?}", as_of(conn, "notes", "id=3", *at))).collect();
    let done = retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    assert!(done.months == 3 && done.bytes > 0, "{done:?}");
    assert_eq!(everything(conn), Vec::<String>::new());
    assert!(
        instants.iter().all(|at| matches!(as_of(conn, "notes", "id=3", *at), AsOf::BeforeHorizon { .. }))
            || instants.last().is_some()
    );
    let horizon = match as_of(conn, "notes", "id=3", instants[0]) {
        AsOf::BeforeHorizon { horizon } => horizon,
        answer => panic!("{answer:?}"),
    };

    // The newest first: with each, the past is known further back.
    for month in ["2001_03", "2001_02", "2001_01"] {
        let known = matches!(as_of(conn, "notes", "id=3", instants[0]), AsOf::BeforeHorizon { horizon: now } if now <= horizon);
        assert!(known);
        let restored = retention::restore_archive(conn, &mut dir.archive(), month).unwrap();
        assert_eq!(restored.month, month);
        let again = retention::restore_archive(conn, &mut dir.archive(), month);
        assert!(
            matches!(&again, Err(Error::Refused { message, .. }) if message.contains("already")),
            "{again:?}"
        );
    }
    assert_eq!(everything(conn), before);
    let now: Vec<_> = instants.iter().map(|at| format!("{:?}", as_of(conn, "notes", "id=3", *at))).collect();
    assert_eq!(now, answers);
    assert!(
        !Trail::unscoped().timeline(conn, &Filter::new().table(table("notes"))).unwrap().entries.is_empty()
    );
    // Retention leaves them alone, and writes go on.
    assert_eq!(retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap().months, 0);
    run(conn, "INSERT INTO notes (id) VALUES (5000)");
    for month in ["2001_01", "2001_02", "2001_03"] {
        assert!(retention::release_archive(conn, month).unwrap().is_some_and(|bytes| bytes > 0));
        assert!(matches!(as_of(conn, "notes", "id=3", instants[0]), AsOf::BeforeHorizon { .. }));
        let again = retention::release_archive(conn, month);
        assert!(matches!(&again, Err(Error::Refused { .. })), "{again:?}");
    }
    assert_eq!(count(conn, "audit_changes"), 1);
    assert_eq!(
        text(conn, "SELECT count(*) FROM threadline.partitions() p WHERE p.first_id IS NULL"),
        "1",
        "a clock set back finds a partition"
    );
}

#[test]
fn an_archive_that_was_altered_is_not_attached() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("altered");
    fill(conn, Duration::from_millis(150), Duration::from_millis(28));
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    let relations = "SELECT count(*) FROM pg_class WHERE relnamespace = 'threadline'::regnamespace";
    let before = text(conn, relations);
    let object = dir.0.join("2001_02/audit_changes.ndjson.gz");
    let whole = fs::read(&object).unwrap();
    let mut reader = flate2::read::GzDecoder::new(whole.as_slice());
    let mut lines = String::new();
    reader.read_to_string(&mut lines).unwrap();
    let altered = [
        lines.replacen("line", "lime", 1),
        lines.lines().skip(1).map(|line| format!("{line}\n")).collect(),
        format!("{lines}{lines}"),
        "nonsense\n".to_owned(),
        String::new(),
    ];
    for lines in altered {
        let mut content = flate2::read::GzEncoder::new(lines.as_bytes(), flate2::Compression::fast());
        let mut file = Vec::new();
        content.read_to_end(&mut file).unwrap();
        fs::write(&object, file).unwrap();
        let refused = retention::restore_archive(conn, &mut dir.archive(), "2001_02");
        assert!(matches!(&refused, Err(Error::ArchiveUnsound { .. })), "{refused:?}");
        let said = format!("{refused:?} {}", refused.as_ref().unwrap_err());
        assert!(!said.contains("lime") && !said.contains("quote"), "{said}");
        assert_eq!(text(conn, relations), before);
    }
    fs::write(&object, &whole[..whole.len() / 2]).unwrap();
    assert!(retention::restore_archive(conn, &mut dir.archive(), "2001_02").is_err());
    for month in ["../x", "", "2001_02/..", "2001_99"] {
        assert!(retention::restore_archive(conn, &mut dir.archive(), month).is_err(), "{month}");
    }
    assert_eq!(text(conn, relations), before);
    fs::write(&object, whole).unwrap();
    retention::restore_archive(conn, &mut dir.archive(), "2001_02").unwrap();
}

/// Fails, or keeps something else, at one of its calls.
struct Faulty {
    inner: LocalArchive,
    calls: usize,
    fault: Fault,
}

#[derive(Clone, Copy, Debug)]
enum Fault {
    Store(usize),
    Open(usize),
    Truncate(usize),
    StopReading(usize),
}

impl Archive for Faulty {
    fn store(&mut self, name: &str, content: &mut dyn Read) -> io::Result<()> {
        self.calls += 1;
        match self.fault {
            Fault::Store(call) if call == self.calls => {
                let _ = content.read(&mut [0; 10]);
                Err(io::Error::other("no room"))
            }
            Fault::Truncate(call) if call == self.calls => {
                let mut whole = Vec::new();
                content.read_to_end(&mut whole)?;
                whole.pop();
                self.inner.store(name, &mut whole.as_slice())
            }
            Fault::StopReading(call) if call == self.calls => self.inner.store(name, &mut content.take(12)),
            _ => self.inner.store(name, content),
        }
    }

    fn open(&mut self, name: &str) -> io::Result<Box<dyn Read + '_>> {
        match self.fault {
            Fault::Open(call) if call == self.calls => Err(io::Error::other("gone")),
            _ => self.inner.open(name),
        }
    }
}

#[test]
fn whatever_fails_in_the_archive_stops_the_drop() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("faults");
    fill(conn, Duration::from_millis(150), Duration::from_millis(28));
    let before = everything(conn);
    let faults = (1..=7).flat_map(|call| {
        [Fault::Store(call), Fault::Open(call), Fault::Truncate(call), Fault::StopReading(call)]
    });
    for fault in faults {
        let mut archive = Faulty { inner: dir.archive(), calls: 0, fault };
        let failed = retain_to(conn, &policy(Duration::ZERO), &mut archive);
        assert!(
            matches!(&failed, Err(Error::Archive { .. } | Error::ArchiveUnsound { .. })),
            "{fault:?}: {failed:?}"
        );
        assert_eq!(everything(conn), before, "{fault:?}");
        assert_eq!(retention::runs(conn, 1).unwrap()[0].error.as_deref(), Some("archive"));
    }
    assert_eq!(text(conn, "SELECT count(*) FROM threadline.retention_purges"), "0");
    // A later month fails: the earlier ones are gone, archived; nothing is in between.
    let mut archive = Faulty { inner: dir.archive(), calls: 0, fault: Fault::Store(10) };
    assert!(retain_to(conn, &policy(Duration::ZERO), &mut archive).is_err());
    assert_eq!(retention::runs(conn, 1).unwrap()[0].months, 1);
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    for month in ["2001_01", "2001_02", "2001_03"] {
        retention::restore_archive(conn, &mut dir.archive(), month).unwrap();
    }
    assert_eq!(everything(conn), before);
}

#[test]
fn with_an_archive_the_end_of_a_window_waits_for_its_month() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("edge");
    fill(conn, Duration::from_millis(600), Duration::from_millis(150));
    // Some of the last month is due, and not all of it.
    let begins: chrono::DateTime<chrono::Utc> = text(conn, "SELECT to_jsonb(threadline.instant_of(p.first_id)) #>> '{}' FROM threadline.partitions() p WHERE p.label = '_2001_03'").parse().unwrap();
    let window = super::since(begins + chrono::TimeDelta::milliseconds(50));
    assert!(count(conn, "audit_changes_2001_03") > 0);
    let changes = count(conn, "audit_changes_2001_03");
    let plan = retention::plan(conn, &policy(window), true).unwrap();
    let done = retain_to(conn, &policy(window), &mut dir.archive()).unwrap();
    assert_eq!((done.months, plan.months.len(), plan.thinned.len()), (2, 2, 0), "{plan:?}");
    assert_eq!(count(conn, "audit_changes_2001_03"), changes);
    assert!(dir.0.join("2001_02/manifest.json").exists() && !dir.0.join("2001_03").exists());
}
