//! The archive: what leaves is in it, whole, before it leaves, and comes back for reading.

use std::fs;
use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

use diesel::connection::SimpleConnection;
use diesel::{Connection, PgConnection};
use diesel_migrations::MigrationHarness;
use threadline::holds::{self, Hold};
use threadline::retention::{
    self, Archive, ArchivedKind, ArchivedObject, LocalArchive, Release, RetentionPolicy, RetentionRun,
};
use threadline::{AsOf, Error, Filter, Trail};
use threadline_devdb::TestDatabase;
use threadline_tests::{as_of, audited_database, clock, row_key, run, table, text, texts};

use super::{count, operator, policy, split_time, wait_for_end};

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

    /// Where the only attempt at a month has its files.
    fn month(&self, month: &str) -> PathBuf {
        let attempts: Vec<_> =
            fs::read_dir(self.0.join(month)).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(attempts.len() == 1 && attempts[0].is_dir(), "{attempts:?}");
        attempts[0].clone()
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
        CREATE TABLE pins (id integer PRIMARY KEY);
        SELECT threadline.attach('notes', mask => '{tags}', scope => 'n'), threadline.attach('pins')",
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
                UPDATE notes SET body = body || '!', id = id + 100 WHERE id = {n} - 1; DELETE FROM notes WHERE id = 102; INSERT INTO pins VALUES ({n}); COMMIT"
            ),
        );
        instants.push(clock(conn));
        thread::sleep(step);
    }
    wait_for_end(conn);
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
    let instants = fill(conn, Duration::from_millis(500), Duration::from_millis(100));
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
        assert!(matches!(
            retention::release_archive(conn, &mut dir.archive(), month).unwrap(),
            Release::Gone { bytes } if bytes > 0
        ));
        assert!(matches!(as_of(conn, "notes", "id=3", instants[0]), AsOf::BeforeHorizon { .. }));
        let again = retention::release_archive(conn, &mut dir.archive(), month);
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
fn a_database_and_its_copy_share_an_archive_and_each_gets_back_its_own() {
    let copy = || {
        TestDatabase::from_template("threadline-retention-copies", |url| {
            let conn = &mut PgConnection::establish(url).unwrap();
            conn.run_pending_migrations(threadline::MIGRATIONS).unwrap();
            run(
                conn,
                "CREATE TABLE notes (id integer PRIMARY KEY, body text); SELECT threadline.attach('notes')",
            );
            split_time(conn, 2, Duration::from_millis(1500));
            run(conn, "INSERT INTO notes SELECT n, 'both' FROM generate_series(1, 5) n");
        })
    };
    let dir = Directory::new("copies");
    let copies = [copy(), copy()];
    let mut conns = copies.each_ref().map(TestDatabase::connect);
    for month in 1..=2 {
        for (copy, conn) in conns.iter_mut().enumerate() {
            for id in 0..4 {
                run(conn, &format!("INSERT INTO notes VALUES ({month}0{id}, 'of copy {copy}')"));
            }
        }
        run(
            &mut conns[0],
            "SELECT pg_sleep_until(min(threadline.instant_of(p.end_id)) + interval '10 milliseconds') FROM threadline.partitions() p",
        );
    }
    // The second month goes in part, under the same numbers of run and batch.
    let mut before = Vec::new();
    for conn in &mut conns {
        holds::place(conn, &Hold::new("case").row(table("notes"), row_key("id=200")), &operator()).unwrap();
        wait_for_end(conn);
        before.push(everything(conn));
    }
    assert_ne!(before[0], before[1]);
    let mut objects = Vec::new();
    for conn in &mut conns {
        let done = retain_to(conn, &policy(Duration::ZERO).batch_rows(2), &mut dir.archive()).unwrap();
        assert!(done.months == 1 && done.changes > 4, "{done:?}");
        objects.extend(texts(conn, "SELECT object FROM threadline.retention_archives"));
    }
    let names = objects.len();
    objects.sort();
    objects.dedup();
    assert!(names > 4 && objects.len() == names, "{objects:?}");
    for (conn, before) in conns.iter_mut().zip(before) {
        for month in retention::archives(conn).unwrap() {
            retention::verify_archive(&mut dir.archive(), &month).unwrap();
        }
        restore_all(conn, &mut dir.archive());
        assert_eq!(everything(conn), before);
    }
}

#[test]
fn an_archive_that_was_altered_is_not_attached() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("altered");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    let relations = "SELECT count(*) FROM pg_class WHERE relnamespace = 'threadline'::regnamespace";
    let before = text(conn, relations);
    let object = dir.month("2001_02").join("audit_changes.ndjson.gz");
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
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
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
    assert!(dir.month("2001_02").join("manifest.json").exists() && !dir.0.join("2001_03").exists());
}

fn months_known(conn: &mut PgConnection) -> Vec<String> {
    retention::archives(conn).unwrap().into_iter().map(|month| month.month).collect()
}

/// Everything an archive has, the newest month first.
fn restore_all(conn: &mut PgConnection, archive: &mut dyn Archive) {
    for month in months_known(conn).iter().rev() {
        retention::restore_archive(conn, archive, month).unwrap();
    }
}

#[test]
fn what_batches_take_is_archived_first_and_comes_back_to_the_byte() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("parts");
    let instants = fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let before = everything(conn);
    let answers = |conn: &mut PgConnection| -> Vec<_> {
        instants.iter().map(|at| format!("{:?}", as_of(conn, "notes", "id=7", *at))).collect()
    };
    let known = answers(conn);
    let hold = |conn: &mut PgConnection, id: i32| {
        let row = row_key(&format!("id={id}"));
        holds::place(conn, &Hold::new("case").row(table("notes"), row), &operator()).unwrap().hold
    };
    let (first, _) = (hold(conn, 0), hold(conn, 8));
    let small = policy(Duration::ZERO).batch_rows(2);

    let done = retain_to(conn, &small, &mut dir.archive()).unwrap();
    let stay: Vec<String> = texts(
        conn,
        "SELECT DISTINCT replace(tableoid::regclass::text, 'threadline.audit_changes_', '') FROM threadline.audit_changes ORDER BY 1",
    );
    assert_eq!(stay.len() as u64 + done.months, 3, "{done:?}");
    let archived = retention::archives(conn).unwrap();
    assert_eq!(archived.len(), 3);
    for month in &archived {
        let stays = stay.contains(&month.month);
        let kind = if stays { ArchivedKind::Part } else { ArchivedKind::Month };
        assert!(
            month.objects.iter().all(|object| object.kind == kind) && month.in_database == stays,
            "{month:?}"
        );
    }
    assert!(archived.iter().any(|month| month.objects.len() > 1), "in more than one batch");
    let in_archive: u64 = archived.iter().flat_map(|month| &month.objects).map(ArchivedObject::rows).sum();
    assert_eq!(in_archive as usize + everything(conn).len(), before.len(), "each row is in one place");

    // Put back into months that have stayed, and attached; the answers are those of before.
    restore_all(conn, &mut dir.archive());
    assert_eq!((everything(conn), answers(conn)), (before.clone(), known.clone()));
    for month in ["2001_01", "2001_02", "2001_03"] {
        let again = retention::restore_archive(conn, &mut dir.archive(), month);
        assert!(
            matches!(&again, Err(Error::Refused { message, .. }) if message.contains("already")),
            "{again:?}"
        );
    }
    // Retention leaves them alone until they are released; then they go again, into objects of their own.
    assert_eq!(retain_to(conn, &small, &mut dir.archive()).unwrap().changes, 0);
    for month in ["2001-01", "2001-02", "2001-03"] {
        let stayed = stay.contains(&month.replace('-', "_"));
        let known = retention::archives(conn).unwrap();
        let known = known.iter().find(|known| known.month == month.replace('-', "_")).unwrap();
        if stayed {
            // What was put back is verified like the rest, and not let go of without the archive.
            let object = dir.0.join(&known.objects[0].object);
            let aside = object.with_extension("aside");
            fs::rename(&object, &aside).unwrap();
            assert!(retention::verify_archive(&mut dir.archive(), known).is_err());
            assert!(retention::release_archive(conn, &mut dir.archive(), month).is_err());
            fs::rename(&aside, &object).unwrap();
        }
        retention::verify_archive(&mut dir.archive(), known).unwrap();
        let released = retention::release_archive(conn, &mut dir.archive(), month).unwrap();
        assert_eq!(released == Release::LeftToRetention, stayed, "{month}: {released:?}");
    }
    holds::release(conn, first.id, &operator(), "over").unwrap();
    let done = retain_to(conn, &small, &mut dir.archive()).unwrap();
    assert!(done.changes > 0 && done.months > 0, "{done:?}");
    restore_all(conn, &mut dir.archive());
    assert_eq!((everything(conn), answers(conn)), (before, known));
}

#[test]
fn a_month_that_leaves_after_its_parts_comes_back_with_them() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("after-parts");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let before = everything(conn);
    let hold = holds::place(conn, &Hold::new("case").table(table("pins")), &operator()).unwrap().hold;
    let small = policy(Duration::ZERO).batch_rows(2);
    retain_to(conn, &small, &mut dir.archive()).unwrap();
    assert_eq!(
        text(conn, "SELECT count(*) FROM threadline.audit_transactions WHERE purged_until IS NOT NULL"),
        "9",
        "of each a part has gone"
    );
    holds::release(conn, hold.id, &operator(), "over").unwrap();
    retain_to(conn, &small, &mut dir.archive()).unwrap();
    assert_eq!(everything(conn), Vec::<String>::new());
    let archived = retention::archives(conn).unwrap();
    let last = |month: &retention::ArchivedMonth| month.objects.last().map(|object| object.kind);
    assert!(archived.iter().all(|month| last(month) == Some(ArchivedKind::Month)), "{archived:?}");
    assert!(archived.iter().any(|month| month.objects.len() > 2), "{archived:?}");
    restore_all(conn, &mut dir.archive());
    assert_eq!(everything(conn), before);
}

#[test]
fn whatever_fails_in_the_archive_stops_the_batch() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("part-faults");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    // One month, so that the first call is that of a batch.
    for id in [0, 3, 5, 8] {
        holds::place(conn, &Hold::new("case").row(table("notes"), row_key(&format!("id={id}"))), &operator())
            .unwrap();
    }
    let before = everything(conn);
    let small = policy(Duration::ZERO).batch_rows(3);
    for fault in [Fault::Store(1), Fault::Open(1), Fault::Truncate(1), Fault::StopReading(1)] {
        let mut archive = Faulty { inner: dir.archive(), calls: 0, fault };
        let failed = retain_to(conn, &small, &mut archive);
        assert!(
            matches!(&failed, Err(Error::Archive { .. } | Error::ArchiveUnsound { .. })),
            "{fault:?}: {failed:?}"
        );
        assert_eq!(everything(conn), before, "{fault:?}");
        assert_eq!(retention::archives(conn).unwrap(), []);
    }
    // A later one fails: what had gone is archived, and what the failure left in the archive is not counted.
    let mut archive = Faulty { inner: dir.archive(), calls: 0, fault: Fault::Open(2) };
    assert!(retain_to(conn, &small, &mut archive).is_err());
    assert!(everything(conn).len() < before.len());
    retain_to(conn, &small, &mut dir.archive()).unwrap();
    restore_all(conn, &mut dir.archive());
    assert_eq!(everything(conn), before);
}

#[test]
fn killed_at_any_statement_nothing_is_lost_and_nothing_doubled() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("killed");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    for id in [0, 8] {
        holds::place(conn, &Hold::new("case").row(table("notes"), row_key(&format!("id={id}"))), &operator())
            .unwrap();
    }
    let before = everything(conn);
    let mut killed = 0;
    for round in 0_u64.. {
        let outcome = thread::scope(|scope| {
            let runner = scope.spawn(|| {
                let conn = &mut db.connect();
                conn.batch_execute("SET application_name = 'victim'").unwrap();
                retain_to(conn, &policy(Duration::ZERO).batch_rows(1), &mut dir.archive())
            });
            thread::sleep(Duration::from_millis(20 + 17 * round));
            run(
                &mut db.connect(),
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'victim'",
            );
            runner.join().unwrap()
        });
        match outcome {
            Ok(_) => break,
            Err(Error::ConnectionLost(_) | Error::Query(_)) => killed += 1,
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(killed > 2, "killed {killed} times");
    assert!(everything(conn).len() < before.len());
    restore_all(conn, &mut dir.archive());
    assert_eq!(everything(conn), before);
}

#[test]
fn a_manifest_that_agrees_only_with_itself_is_not_believed() {
    let db = audited_database();
    let conn = &mut db.connect();
    let dir = Directory::new("manifest");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    let verified = |conn: &mut PgConnection| {
        let month = retention::archives(conn).unwrap().remove(1);
        retention::verify_archive(&mut dir.archive(), &month)
    };
    verified(conn).unwrap();
    // Another month's rows under this one's name, with a manifest that fits them.
    for entry in fs::read_dir(dir.month("2001_01")).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), dir.month("2001_02").join(entry.file_name())).unwrap();
    }
    let manifest = dir.month("2001_02").join("manifest.json");
    let forged = fs::read_to_string(&manifest).unwrap().replace("2001_01", "2001_02");
    fs::write(&manifest, forged).unwrap();
    for refused in [verified(conn), retention::restore_archive(conn, &mut dir.archive(), "2001_02").map(drop)]
    {
        assert!(
            matches!(&refused, Err(Error::ArchiveUnsound { problem, .. }) if problem.contains("remembers")),
            "{refused:?}"
        );
    }
    assert_eq!(count(conn, "audit_changes"), 0);
    fs::remove_file(manifest).unwrap();
    assert!(matches!(verified(conn), Err(Error::Archive { .. })));
}

#[test]
fn a_restored_month_is_not_let_go_against_a_hold_or_without_its_archive() {
    let db = audited_database();
    let (conn, reader) = (&mut db.connect(), &mut db.connect());
    let dir = Directory::new("release");
    fill(conn, Duration::from_millis(500), Duration::from_millis(100));
    let before = everything(conn);
    retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap();
    restore_all(conn, &mut dir.archive());
    let month = text(
        conn,
        "SELECT replace(tableoid::regclass::text, 'threadline.audit_changes_', '') FROM threadline.audit_changes WHERE row_key = '3' LIMIT 1",
    );
    let release = |conn: &mut PgConnection| retention::release_archive(conn, &mut dir.archive(), &month);
    let place = |conn: &mut PgConnection| {
        holds::place(conn, &Hold::new("case").row(table("notes"), row_key("id=3")), &operator()).unwrap().hold
    };
    let hold = place(conn);
    let refused = release(conn);
    let named = format!("by hold {}", hold.id);
    assert!(
        matches!(&refused, Err(Error::Refused { message, .. }) if message.ends_with(&named)),
        "{refused:?}"
    );
    holds::release(conn, hold.id, &operator(), "over").unwrap();

    let object = dir.month(&month).join("audit_changes.ndjson.gz");
    let whole = fs::read(&object).unwrap();
    fs::remove_file(&object).unwrap();
    assert!(matches!(release(conn), Err(Error::Archive { .. })));
    fs::copy(dir.month(&month).join("audit_transactions.ndjson.gz"), &object).unwrap();
    assert!(matches!(release(conn), Err(Error::ArchiveUnsound { .. })));
    assert_eq!(everything(conn), before, "nothing has gone");
    fs::write(&object, whole).unwrap();

    // A hold that is placed while the month waits for a reader brings it back.
    run(reader, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM threadline.audit_changes");
    let patient = thread::scope(|scope| {
        let released = scope.spawn(|| {
            let conn = &mut db.connect();
            retention::release_archive(conn, &mut dir.archive(), &month)
        });
        while text(conn, "SELECT count(*) FROM threadline.retention_months WHERE state = 'released'") == "0" {
            thread::sleep(Duration::from_millis(5));
        }
        let hold = place(conn);
        run(reader, "COMMIT");
        (released.join().unwrap(), hold)
    });
    let (released, hold) = patient;
    assert!(
        matches!(&released, Err(Error::Refused { message, .. }) if message.contains("hold")),
        "{released:?}"
    );
    assert_eq!(everything(conn), before);
    assert_eq!(retain_to(conn, &policy(Duration::ZERO), &mut dir.archive()).unwrap().months, 0);
    holds::release(conn, hold.id, &operator(), "over").unwrap();
    assert!(matches!(release(conn).unwrap(), Release::Gone { .. }));
}
