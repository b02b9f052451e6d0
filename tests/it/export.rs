//! Exports: what the timeline says, whole, in three forms, and nothing else.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, Ordering};

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;
use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use threadline::{
    Action, ActionStatus, Actor, ActorId, AuditContext, Error, ExportFormat, ExportOptions, ExportSummary,
    Filter, LinkedChange, Op, Order, PageRequest, RowImage, Scope, Surface, TableName, Trail,
};
use threadline_tests::{audited_database, clock, row_key, run, table, text};

const FORMATS: [ExportFormat; 3] = [ExportFormat::Csv, ExportFormat::Json, ExportFormat::Ndjson];

/// Texts that a careless writer or reader breaks at.
const HOSTILE: &[&str] = &[
    "",
    " ",
    "  kept at both ends  ",
    "plain",
    "a,b;c\td",
    "say \"so\"",
    "\"",
    "\"\"\r\n\"",
    "line\nfeed",
    "carriage\rreturn",
    "both\r\n",
    "\r",
    "\n",
    "\t",
    "=1+1",
    "+49 30",
    "-5",
    "@SUM(A1)",
    "＝1＋1",
    "＋1",
    "－1",
    "＠a",
    "'",
    "'=1+1",
    "''-5",
    "'\t",
    "'plain",
    "=\"a\",\r\n=\"b\"",
    "null",
    "NULL",
    "{}",
    "[1, 2]",
    "{\"a\": [\"=1\"]}",
    "\\",
    "\\u0000 \\n",
    "\u{1}\u{7f}\u{85}\u{2028}\u{feff}",
    "שלום \u{202e}abc\u{202c} مرحبا",
    "💥𝕏 e\u{301}",
    "grüße, 東京",
    "<script>alert('x')</script>",
];

fn export_to(
    conn: &mut PgConnection,
    trail: &Trail,
    filter: &Filter,
    options: &ExportOptions,
) -> (Vec<u8>, ExportSummary) {
    let mut bytes = Vec::new();
    let summary = trail.export(conn, filter, options, &mut bytes).unwrap();
    assert_eq!(summary.bytes, bytes.len() as u64);
    let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(summary.sha256, digest);
    (bytes, summary)
}

fn whole(conn: &mut PgConnection, format: ExportFormat) -> (Vec<u8>, ExportSummary) {
    export_to(conn, &Trail::unscoped(), &Filter::new(), &ExportOptions::new(format).unlimited())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    format_version: u32,
    generated_at: chrono::DateTime<chrono::Utc>,
    changes: Vec<Box<RawValue>>,
    rows: u64,
    truncated: bool,
}

fn lines(ndjson: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(ndjson).unwrap();
    assert!(text.is_empty() || text.ends_with('\n'));
    text.split_terminator('\n').map(String::from).collect()
}

fn document(json: &[u8]) -> Document {
    serde_json::from_slice(json).unwrap()
}

/// The records of a CSV, by column.
fn records(csv: &[u8]) -> Vec<BTreeMap<&'static str, String>> {
    let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(csv);
    let mut records = reader.records().map(|record| record.unwrap());
    let header = records.next().unwrap();
    assert_eq!(header.iter().collect::<Vec<_>>(), ExportFormat::CSV_COLUMNS);
    let named = |record: csv::StringRecord| {
        ExportFormat::CSV_COLUMNS.iter().copied().zip(record.iter().map(String::from)).collect()
    };
    records.map(named).collect()
}

/// The ids of the changes, whatever the format.
fn ids(format: ExportFormat, bytes: &[u8]) -> Vec<String> {
    #[derive(Deserialize)]
    struct Line {
        change: Id,
    }
    #[derive(Deserialize)]
    struct Id {
        transaction_id: String,
        ordinal: i32,
    }
    let of_line = |line: &str| {
        let Line { change: Id { transaction_id, ordinal } } = serde_json::from_str(line).unwrap();
        format!("{transaction_id}#{ordinal}")
    };
    match format {
        ExportFormat::Csv => {
            records(bytes).into_iter().map(|mut record| record.remove("id").unwrap()).collect()
        }
        ExportFormat::Json => document(bytes).changes.iter().map(|change| of_line(change.get())).collect(),
        ExportFormat::Ndjson => lines(bytes).iter().map(|line| of_line(line)).collect(),
    }
}

/// All pages of the timeline.
fn timeline(conn: &mut PgConnection, trail: &Trail, filter: &Filter, order: Order) -> Vec<LinkedChange> {
    let mut request = PageRequest::new().size(1000).unwrap().order(order);
    let mut entries = Vec::new();
    loop {
        let page = trail.timeline_page(conn, filter, &request).unwrap();
        entries.extend(page.entries);
        let Some(cursor) = page.cursor else { return entries };
        request = request.after(cursor);
    }
}

/// What the documentation promises of each cell.
fn expected_cells(entry: &LinkedChange) -> BTreeMap<&'static str, String> {
    let LinkedChange { table, change, row, transaction, action, .. } = entry;
    let json = |value: Option<String>| value.unwrap_or_default();
    let object = |columns: Vec<(&String, &str)>| {
        let pairs: Vec<String> = columns
            .iter()
            .map(|(name, value)| format!("{}:{value}", serde_json::to_string(name).unwrap()))
            .collect();
        format!("{{{}}}", pairs.join(","))
    };
    let image =
        |row: &RowImage| object(row.columns.iter().map(|(name, value)| (name, value.as_str())).collect());
    let is = |op: Op| change.op == op;
    let fields = |after: bool| {
        let value = |field: &threadline::FieldChange| {
            if after { field.after.to_string() } else { field.before.to_string() }
        };
        let values: Vec<(&String, String)> =
            change.fields.iter().map(|(name, field)| (name, value(field))).collect();
        object(values.iter().map(|(name, value)| (*name, value.as_str())).collect())
    };
    let of = |get: fn(&threadline::AuditTransaction) -> Option<String>| {
        transaction.as_ref().and_then(get).unwrap_or_default()
    };
    let mut masked: Vec<&String> =
        change.fields.iter().filter(|(_, field)| field.masked).map(|(name, _)| name).collect();
    masked.extend(row.iter().flat_map(|row| &row.masked));
    masked.sort();
    masked.dedup();
    BTreeMap::from([
        ("id", change.id.to_string()),
        ("transaction_id", change.id.transaction_id.to_string()),
        ("table_schema", table.schema().unwrap().to_owned()),
        ("table_name", table.name().to_owned()),
        ("op", change.op.to_string()),
        ("captured_at", serde_json::to_string(&change.captured_at).unwrap().trim_matches('"').to_owned()),
        ("row_key", change.row_key.clone()),
        (
            "data_after",
            json(if is(Op::Update) {
                Some(fields(true))
            } else {
                row.as_ref().filter(|_| is(Op::Insert)).map(image)
            }),
        ),
        (
            "changed_fields",
            json(is(Op::Update).then(|| serde_json::to_string(&change.changed_fields()).unwrap())),
        ),
        ("changed_from", json(is(Op::Update).then(|| fields(false)))),
        ("transaction_json", json(transaction.as_ref().map(|it| serde_json::to_string(it).unwrap()))),
        ("correlation_id", of(|it| it.correlation_id.clone())),
        ("action_id", of(|it| it.action_id.map(|id| id.to_string()))),
        ("ordinal", change.id.ordinal.to_string()),
        ("previous_row_key", change.previous_row_key.clone().unwrap_or_default()),
        ("scope", change.scope.clone().unwrap_or_default()),
        ("previous_scope", change.previous_scope.clone().unwrap_or_default()),
        ("partition", change.partition.clone().unwrap_or_default()),
        ("data_before", json(row.as_ref().filter(|_| !is(Op::Insert)).map(image))),
        ("masked_columns", json((!masked.is_empty()).then(|| serde_json::to_string(&masked).unwrap()))),
        ("actor_type", of(|it| it.actor_type.clone())),
        ("actor_id", of(|it| it.actor_id.clone())),
        ("request_id", of(|it| it.request_id.clone())),
        ("job_id", of(|it| it.job_id.clone())),
        ("remote_addr", of(|it| it.remote_addr.clone())),
        ("db_role", of(|it| Some(it.db_role.clone()))),
        ("meta", of(|it| it.meta.as_ref().map(ToString::to_string))),
        ("action_name", json(action.as_ref().map(|it| it.name.clone()))),
        ("action_status", json(action.as_ref().map(|it| it.status.to_string()))),
        ("action_json", json(action.as_ref().map(|it| serde_json::to_string(it).unwrap()))),
    ])
}

/// As the documentation tells to undo the guard.
fn without_guard(cell: &str) -> &str {
    let bare = cell.trim_start_matches('\'');
    let computed = ['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r', '\n'];
    if bare.len() < cell.len() && bare.starts_with(computed) { &cell[1..] } else { cell }
}

/// Hostile texts as keys, values, names, tenants; numbers no float holds; every kind of change.
fn hostile_trail(conn: &mut PgConnection) {
    run(
        conn,
        r#"CREATE TABLE "=cmd|' /C calc'!A1, ""x""
" (id text PRIMARY KEY, "-body" text, amount numeric, doc jsonb, raw json, nothing text, "org" text, many text[]);
        SELECT threadline.attach('"=cmd|'' /C calc''!A1, ""x""
"', scope => 'org', ignore => '{many}');
        CREATE TABLE parts (a bigint, b text, v integer, PRIMARY KEY (a, b)) PARTITION BY LIST (a);
        CREATE TABLE "parts,1" PARTITION OF parts FOR VALUES IN (1); CREATE TABLE parts_rest PARTITION OF parts DEFAULT;
        SELECT threadline.attach('parts')"#,
    );
    let name = r#""=cmd|' /C calc'!A1, ""x""
""#;
    for (number, text) in HOSTILE.iter().enumerate() {
        let clean: String = text.chars().filter(|character| !character.is_control()).collect();
        let mut context =
            AuditContext::new(Actor::user(number as i64)).with_meta("=text", *text).with_meta("n", number);
        if !clean.trim().is_empty() {
            context = AuditContext::new(Actor::user(ActorId::try_from(clean.trim()).unwrap()))
                .with_request_id(&clean)
                .with_meta(clean.clone(), *text);
        }
        let reason = format!("=reason, \"{clean}\"\r\n");
        context
            .with_correlation_id("=c")
            .transaction()
            .action(Action::new(format!("@{clean}")).category("+k").reason(reason))
            .run(conn, |conn, _| {
                let mut run = |sql: &str| {
                    diesel::sql_query(sql).bind::<Text, _>(text).execute(conn).map_err(Error::Query)
                };
                run(&format!(
                    "INSERT INTO {name} VALUES ($1, $1, 9007199254740993.10, jsonb_build_object($1, 12345678901234567890.1234567890123456789, 'deep', jsonb_build_array($1, 1.50, null, '{{}}'::jsonb)), to_json($1), NULL, $1, ARRAY[$1, NULL])"
                ))?;
                run(&format!("UPDATE {name} SET \"-body\" = $1 || $1 || '.', amount = -0.00, nothing = '', many = '{{}}', doc = '[1.0, 1e2]' WHERE id = $1"))?;
                run(&format!("UPDATE {name} SET id = 'moved ' || $1, org = $1 || '-' WHERE id = $1"))?;
                run(&format!("DELETE FROM {name} WHERE id = 'moved ' || $1"))
            })
            .unwrap();
    }
    run(
        conn,
        &format!(
            "INSERT INTO {name} VALUES ('long', repeat('\"=,' || chr(10), 100000));
            INSERT INTO parts VALUES (1, 'a,\"b'), (2, '-'); UPDATE parts SET v = 1; TRUNCATE parts; TRUNCATE {name}"
        ),
    );
}

#[test]
fn hostile_values_come_back_from_every_format_as_the_timeline_has_them() {
    let db = audited_database();
    let conn = &mut db.connect();
    hostile_trail(conn);
    let (filter, trail) = (Filter::new(), Trail::unscoped());
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let entries = timeline(conn, &trail, &filter, order);
        assert_eq!(entries.len(), 4 * HOSTILE.len() + 7);
        let expected: Vec<String> =
            entries.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();

        let (bytes, _) =
            export_to(conn, &trail, &filter, &ExportOptions::new(ExportFormat::Ndjson).order(order));
        assert_eq!(lines(&bytes), expected);
        let (bytes, summary) =
            export_to(conn, &trail, &filter, &ExportOptions::new(ExportFormat::Json).order(order));
        let document = document(&bytes);
        assert_eq!((document.format_version, document.truncated), (1, false));
        assert_eq!((document.rows, document.generated_at), (expected.len() as u64, summary.generated_at));
        assert_eq!(document.changes.iter().map(|change| change.get()).collect::<Vec<_>>(), expected);

        let options = ExportOptions::new(ExportFormat::Csv).order(order);
        let (bytes, summary) = export_to(conn, &trail, &filter, &options.clone().formula_guard(false));
        assert!(!summary.formula_guard);
        let exact = records(&bytes);
        assert_eq!(exact, entries.iter().map(expected_cells).collect::<Vec<_>>());

        let (bytes, summary) = export_to(conn, &trail, &filter, &options);
        assert!(summary.formula_guard);
        let guarded = records(&bytes);
        assert_ne!(guarded, exact);
        for (record, exact) in guarded.iter().zip(&exact) {
            for (column, cell) in record {
                assert!(
                    !cell.starts_with(['=', '+', '-', '@', '＝', '＋', '－', '＠', '\t', '\r', '\n']),
                    "{column} is computed: {cell:?}"
                );
                assert_eq!(without_guard(cell), exact[column], "{column}");
            }
        }
        assert!(guarded.iter().any(|record| record["row_key"] == "'-5"));
        assert!(
            guarded.iter().any(|record| record["row_key"] == "'plain"),
            "what is no formula is left alone"
        );
        let long = guarded.iter().find(|record| record["row_key"] == "long").unwrap();
        assert!(long["data_after"].len() > 400_000);
    }
}

#[test]
fn records_end_in_cr_lf_and_cells_are_quoted_where_a_reader_would_break() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id text PRIMARY KEY); SELECT threadline.attach('notes');
        INSERT INTO notes VALUES (E'a\\rb'), (E'a\\nb'), ('a,b'), ('a\"b'), (' a '), ('')",
    );
    let options = ExportOptions::new(ExportFormat::Csv).order(Order::OldestFirst);
    let (bytes, _) = export_to(conn, &Trail::unscoped(), &Filter::new(), &options);
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.starts_with("id,transaction_id,table_schema,table_name,op,captured_at,row_key,data_after,changed_fields,changed_from,transaction_json,correlation_id,action_id,"));
    assert!(text.ends_with("\r\n"));
    for (key, data) in [
        ("\"a\rb\"", r#"{""id"":""a\rb""}"#),
        ("\"a\nb\"", r#"{""id"":""a\nb""}"#),
        ("\"a,b\"", r#"{""id"":""a,b""}"#),
        ("\"a\"\"b\"", r#"{""id"":""a\""b""}"#),
        (" a ", r#"{""id"":"" a ""}"#),
        ("", r#"{""id"":""""}"#),
    ] {
        assert!(text.contains(&format!("Z,{key},\"{data}\",,,")), "{key:?} in {text}");
    }
    assert_eq!(text.matches("\r\n").count(), 7);
}

#[test]
fn a_cap_cuts_at_exactly_so_many_and_says_exactly_whether_there_were_more() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id bigint PRIMARY KEY); SELECT threadline.attach('notes');
        INSERT INTO notes SELECT n FROM generate_series(1, 700) n",
    );
    for n in 701..=1200 {
        run(conn, &format!("INSERT INTO notes VALUES ({n})"));
    }
    let (filter, trail) = (Filter::new(), Trail::unscoped());
    for order in [Order::NewestFirst, Order::OldestFirst] {
        let all: Vec<String> =
            timeline(conn, &trail, &filter, order).iter().map(|entry| entry.change.id.to_string()).collect();
        for format in FORMATS {
            for cap in [0, 1, 2, 99, 100, 101, 499, 500, 501, 1199, 1200, 1201, u64::MAX] {
                let options = ExportOptions::new(format).order(order).max_rows(cap);
                let (bytes, summary) = export_to(conn, &trail, &filter, &options);
                let rows = all.len().min(usize::try_from(cap).unwrap());
                assert_eq!(ids(format, &bytes), all[..rows], "{format:?} {cap}");
                assert_eq!((summary.rows, summary.truncated), (rows as u64, cap < 1200), "{format:?} {cap}");
                assert_eq!(summary.max_rows, Some(cap));
                if format == ExportFormat::Json {
                    let document = document(&bytes);
                    assert_eq!((document.rows, document.truncated), (rows as u64, cap < 1200));
                }
            }
        }
    }
    assert_eq!(ExportOptions::DEFAULT_MAX_ROWS, 10_000);
    run(conn, "INSERT INTO notes SELECT n FROM generate_series(1201, 10001) n");
    let (_, summary) = export_to(conn, &trail, &filter, &ExportOptions::new(ExportFormat::Ndjson));
    assert_eq!((summary.rows, summary.truncated, summary.max_rows), (10_000, true, Some(10_000)));
    let (_, summary) = whole(conn, ExportFormat::Ndjson);
    assert_eq!((summary.rows, summary.truncated, summary.max_rows), (10_001, false, None));
}

#[test]
fn an_export_of_nothing_is_a_header_an_empty_list_or_an_empty_file() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE notes (id bigint PRIMARY KEY); SELECT threadline.attach('notes')");
    let (bytes, summary) = whole(conn, ExportFormat::Csv);
    assert_eq!(String::from_utf8(bytes).unwrap(), format!("{}\r\n", ExportFormat::CSV_COLUMNS.join(",")));
    assert_eq!((summary.rows, summary.truncated, summary.earliest, summary.latest), (0, false, None, None));
    let (bytes, summary) = whole(conn, ExportFormat::Json);
    let generated_at = serde_json::to_string(&summary.generated_at).unwrap();
    assert_eq!(
        String::from_utf8(bytes).unwrap(),
        format!(
            "{{\"format_version\":1,\"generated_at\":{generated_at},\"changes\":[\n],\"rows\":0,\"truncated\":false}}\n"
        )
    );
    let (bytes, summary) = whole(conn, ExportFormat::Ndjson);
    assert_eq!(bytes, b"");
    assert_eq!(summary.sha256, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}

/// Takes so many bytes and then fails; notes that it was called again.
struct Full<'a> {
    taken: &'a mut Vec<u8>,
    room: usize,
    failed: Rc<Cell<u32>>,
}

impl Write for Full<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let fitting = bytes.len().min(self.room - self.taken.len());
        self.taken.extend_from_slice(&bytes[..fitting]);
        if fitting == 0 && !bytes.is_empty() {
            self.failed.set(self.failed.get() + 1);
            return Err(io::Error::new(io::ErrorKind::StorageFull, "no room"));
        }
        Ok(fitting)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.taken.len() == self.room { Err(io::Error::other("not flushed")) } else { Ok(()) }
    }
}

#[test]
fn a_writer_that_fails_ends_the_export_at_once_and_leaves_the_connection_as_it_was() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id bigint PRIMARY KEY); SELECT threadline.attach('notes');
        INSERT INTO notes SELECT n FROM generate_series(1, 3000) n",
    );
    for format in FORMATS {
        let (all, _) = whole(conn, format);
        // Nothing is written of an empty file, and the times at which documents were generated differ.
        for room in [0, 10, 20_000, all.len() / 2, all.len() - 1, all.len()] {
            let (mut taken, failed) = (Vec::new(), Rc::new(Cell::new(0)));
            let full = Full { taken: &mut taken, room, failed: Rc::clone(&failed) };
            let options = ExportOptions::new(format).unlimited();
            let error = Trail::unscoped().export(conn, &Filter::new(), &options, full).unwrap_err();
            let Error::Export(cause) = &error else { panic!("{error:?}") };
            assert_eq!(error.to_string(), "the export could not be written");
            if room < all.len() {
                assert_eq!(
                    (cause.kind(), failed.get()),
                    (io::ErrorKind::StorageFull, 1),
                    "{format:?} {room}"
                );
            } else {
                assert_eq!((cause.to_string().as_str(), failed.get()), ("not flushed", 0));
            }
            assert_eq!(taken.len(), room);
            if format != ExportFormat::Json {
                assert_eq!(taken, all[..room]);
            }
            // The transaction is over: this one can be written in.
            run(conn, "UPDATE notes SET id = id WHERE false");
        }
    }
}

/// The largest piece that was written.
struct Largest(usize);

impl Write for Largest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = self.0.max(bytes.len());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn no_more_is_held_at_once_however_long_a_transaction_and_however_large_its_rows() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE notes (id bigint PRIMARY KEY, body text); SELECT threadline.attach('notes');
        INSERT INTO notes SELECT n, repeat('long ', 8000) FROM generate_series(1, 1500) n",
    );
    for format in FORMATS {
        let mut largest = Largest(0);
        let options = ExportOptions::new(format).unlimited();
        let summary = Trail::unscoped().export(conn, &Filter::new(), &options, &mut largest).unwrap();
        assert!(summary.bytes > 60_000_000, "{}", summary.bytes);
        assert!(largest.0 < 10_000_000, "{format:?}: {} bytes at once", largest.0);
    }
}

/// Lets others write while an export is under way.
struct Meanwhile<F: FnMut()>(F);

impl<F: FnMut()> Write for Meanwhile<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (self.0)();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_is_committed_or_purged_during_an_export_makes_no_difference_to_it() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    run(
        conn,
        "CREATE TABLE notes (id bigint PRIMARY KEY); SELECT threadline.attach('notes');
        INSERT INTO notes SELECT n FROM generate_series(1, 4000) n",
    );
    for order in [Order::NewestFirst, Order::OldestFirst] {
        for filter in [Filter::new(), Filter::new().nobody()] {
            let expected = Trail::unscoped().count(conn, &filter, 100_000).unwrap().counted;
            let mut calls = 0;
            let writer = Meanwhile(|| {
                calls += 1;
                run(other, "INSERT INTO notes SELECT max(id) + 1 FROM notes");
                if calls == 2 {
                    run(
                        other,
                        "DELETE FROM threadline.audit_changes WHERE ordinal % 2 = 0 AND ordinal < 1000",
                    );
                }
            });
            let options = ExportOptions::new(ExportFormat::Csv).order(order).unlimited();
            let summary = Trail::unscoped().export(conn, &filter, &options, writer).unwrap();
            assert!(calls >= 4, "{calls}");
            assert_eq!((summary.rows, summary.truncated), (expected, false));
            assert!(summary.latest.unwrap() < summary.generated_at && summary.generated_at < clock(conn));
        }
    }
}

#[test]
fn whatever_ends_an_export_it_ends() {
    let db = audited_database();
    let (conn, other) = (&mut db.connect(), &mut db.connect());
    run(
        conn,
        "CREATE TABLE notes (id bigint PRIMARY KEY); SELECT threadline.attach('notes');
        INSERT INTO notes SELECT n FROM generate_series(1, 4000) n",
    );
    let options = ExportOptions::new(ExportFormat::Ndjson).unlimited();
    let (filter, trail) = (Filter::new(), Trail::unscoped());

    // The application gives up while the thread that reads is at work.
    let mut calls = 0;
    let panicking = Meanwhile(|| {
        calls += 1;
        assert!(calls < 3, "the writer gives up");
    });
    let panicked =
        std::panic::catch_unwind(AssertUnwindSafe(|| trail.export(conn, &filter, &options, panicking)));
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "the writer gives up");

    // The database does.
    let conn = &mut db.connect();
    let pid = text(conn, "SELECT pg_backend_pid()");
    let mut calls = 0;
    let writer = Meanwhile(|| {
        calls += 1;
        if calls == 1 {
            run(other, &format!("SELECT pg_terminate_backend({pid}, 5000)"));
        }
    });
    let error = trail.export(conn, &filter, &options, writer).unwrap_err();
    assert!(matches!(error, Error::ConnectionLost(_) | Error::Query(_)), "{error:?}");
    assert!(calls >= 1);
}

#[test]
fn what_is_redacted_today_is_in_no_export_also_where_it_was_captured_before() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE users (id bigint PRIMARY KEY, email text, secret text, name text);
        SELECT threadline.attach('users');
        INSERT INTO users VALUES (1, 'MARK-email-1', 'MARK-secret-1', 'ann');
        UPDATE users SET email = 'MARK-email-2', secret = 'MARK-secret-2', name = 'bob';
        UPDATE users SET secret = 'MARK-secret-3'; UPDATE users SET id = 2; DELETE FROM users;
        ALTER TABLE users RENAME COLUMN secret TO hidden",
    );
    for format in FORMATS {
        let (bytes, _) = whole(conn, format);
        assert_eq!(String::from_utf8(bytes).unwrap().matches("MARK-").count(), 12, "{format:?}");
    }
    run(conn, "SELECT threadline.attach('users', exclude => '{hidden}', mask => '{email}')");
    for format in FORMATS {
        let (bytes, summary) = whole(conn, format);
        let text = String::from_utf8(bytes).unwrap();
        assert_eq!(summary.rows, 5);
        assert!(!text.contains("MARK-") && !text.contains("secret") && !text.contains("hidden"), "{text}");
        assert!(text.contains("[REDACTED]") && text.contains("bob"));
    }
    let (bytes, _) = whole(conn, ExportFormat::Csv);
    let masked: Vec<String> = records(&bytes)
        .into_iter()
        .map(|record| format!("{} {}", record["op"], record["masked_columns"]))
        .collect();
    assert_eq!(
        masked,
        ["delete [\"email\"]", "update [\"email\"]", "update ", "update [\"email\"]", "insert [\"email\"]"]
    );
}

/// What one tenant does, with its mark in every place the application chooses a text.
fn as_tenant(conn: &mut PgConnection, mark: &str) {
    let context =
        AuditContext::new(Actor::user(ActorId::try_from(format!("{mark}-actor").as_str()).unwrap()))
            .with_request_id(format!("{mark}-request"))
            .with_correlation_id(format!("{mark}-correlation"))
            .with_job_id(format!("{mark}-job"))
            .with_meta(format!("{mark}-key"), format!("{mark}-value"));
    let action = Action::new(format!("{mark}-action"))
        .verb(format!("{mark}-verb"))
        .category(format!("{mark}-category"))
        .reason(format!("{mark}-reason"))
        .comment(format!("{mark}-comment"));
    context
        .transaction()
        .action(action)
        .run(conn, |conn, _| {
            conn.batch_execute(&format!(
                "INSERT INTO docs VALUES ('{mark}-1', '{mark}', '{mark}-body', '{{\"{mark}-k\": \"{mark}-v\"}}');
                UPDATE docs SET body = '{mark}-body2', meta = '[\"{mark}\"]' WHERE id = '{mark}-1';
                UPDATE docs SET id = '{mark}-2' WHERE id = '{mark}-1';
                DELETE FROM docs WHERE id = '{mark}-2';
                INSERT INTO docs VALUES ('{mark}-3', '{mark}', '{mark}-body', '{{}}');
                INSERT INTO shared VALUES ('{mark}-shared')"
            ))
            .map_err(Error::Query)
        })
        .unwrap();
}

#[test]
fn an_export_for_a_tenant_has_no_value_of_another_one() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE docs (id text PRIMARY KEY, org text, body text, meta jsonb); CREATE TABLE shared (id text PRIMARY KEY);
        SELECT threadline.attach('docs', scope => 'org'), threadline.attach('shared')",
    );
    as_tenant(conn, "alpha");
    as_tenant(conn, "beta");
    // From one to the other, and both at once.
    run(
        conn,
        "SELECT threadline.set_context('{\"meta\": {\"any\": 1}}');
        UPDATE docs SET org = 'beta', body = 'moved' WHERE id = 'alpha-3'; UPDATE docs SET org = 'alpha', body = 'moved' WHERE id = 'beta-3';
        UPDATE docs SET body = org || '-later'; TRUNCATE docs",
    );
    for (mark, other) in [("alpha", "beta"), ("beta", "alpha")] {
        for format in FORMATS {
            static ASKED: AtomicU32 = AtomicU32::new(0);
            ASKED.store(0, Ordering::Relaxed);
            let trail = Trail::scoped(move |surface| {
                assert_eq!(surface, Surface::Export);
                ASKED.fetch_add(1, Ordering::Relaxed);
                Ok(Scope::tenant(mark))
            });
            let options = ExportOptions::new(format).unlimited();
            let (bytes, summary) = export_to(conn, &trail, &Filter::new(), &options);
            assert_eq!(ASKED.load(Ordering::Relaxed), 1);
            assert!(summary.scoped);
            let text = String::from_utf8(bytes).unwrap();
            // The row the other tenant had made is this one's by now, key and all: it shows in what was done to it since.
            assert_eq!(summary.rows, 6, "{text}");
            let own = text.replace(&format!("{other}-3"), "");
            assert!(!own.contains(other), "{format:?}: {text}");
            for part in [
                "actor",
                "request",
                "correlation",
                "job",
                "key",
                "value",
                "action",
                "verb",
                "category",
                "reason",
                "comment",
                "1",
                "2",
                "3",
                "body",
                "body2",
                "later",
                "k",
                "v",
            ] {
                assert!(text.contains(&format!("{mark}-{part}")), "{format:?} lacks {part}");
            }
            let manifest = serde_json::to_string(&summary).unwrap();
            assert!(!manifest.contains(other) && !manifest.contains("shared"));
        }
    }
    let failing = Trail::scoped(|_| Err("no session".into()));
    let mut written = Vec::new();
    let error = failing
        .export(conn, &Filter::new(), &ExportOptions::new(ExportFormat::Csv), &mut written)
        .unwrap_err();
    assert!(matches!(error, Error::ScopeFailed(_)) && written.is_empty(), "{error:?}");
}

#[test]
fn every_filter_narrows_an_export_as_it_does_a_timeline() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE SCHEMA blog; CREATE TABLE blog.posts (id bigint PRIMARY KEY, title text, views integer); CREATE TABLE notes (id bigint PRIMARY KEY);
        SELECT threadline.attach('blog.posts'), threadline.attach('notes'); INSERT INTO blog.posts VALUES (0), (9)",
    );
    let mut instants = Vec::new();
    for number in 1..=4 {
        let context = AuditContext::new(Actor::user(number % 2))
            .with_request_id(format!("r{number}"))
            .with_correlation_id(format!("c{}", number % 2))
            .with_job_id(format!("j{number}"));
        let action = Action::new(format!("a{}", number % 3)).category(format!("k{number}"));
        let action = if number == 2 { action.failed("it did") } else { action };
        context
            .transaction()
            .action(action)
            .run(conn, |conn, _| {
                conn.batch_execute(&format!(
                    "INSERT INTO blog.posts VALUES ({number}, 'a', 1); UPDATE blog.posts SET title = 'b' WHERE id IN (0, {number});
                    UPDATE blog.posts SET views = 2 WHERE id = {number}; INSERT INTO notes VALUES ({number}); DELETE FROM notes"
                ))
                .map_err(Error::Query)
            })
            .unwrap();
        instants.push(clock(conn));
    }
    run(conn, "TRUNCATE notes");
    let posts = || Filter::new().table(table("blog.posts"));
    let filters = [
        posts(),
        Filter::new().schema("blog"),
        posts().key(row_key("id=0")),
        Filter::new().actor(Actor::user(1)),
        Filter::new().nobody(),
        Filter::new().action("a1"),
        Filter::new().status(ActionStatus::Error),
        Filter::new().category("k3"),
        Filter::new().correlation_id("c1"),
        Filter::new().transaction_correlation_id("c0"),
        Filter::new().request_id("r2"),
        Filter::new().job_id("j3"),
        Filter::new().op(Op::Delete),
        Filter::new().op(Op::Truncate),
        Filter::new().column("views"),
        Filter::new().from(instants[1]),
        Filter::new().to(instants[1]),
        Filter::new().from(instants[0]).to(instants[2]).actor(Actor::user(0)).op(Op::Update).column("title"),
    ];
    let trail = Trail::unscoped();
    let all = timeline(conn, &trail, &Filter::new(), Order::NewestFirst).len();
    for filter in filters {
        for order in [Order::NewestFirst, Order::OldestFirst] {
            let expected: Vec<String> = timeline(conn, &trail, &filter, order)
                .iter()
                .map(|entry| serde_json::to_string(entry).unwrap())
                .collect();
            assert!(!expected.is_empty() && expected.len() < all, "{filter:?} finds {}", expected.len());
            let options = ExportOptions::new(ExportFormat::Ndjson).order(order);
            let (bytes, summary) = export_to(conn, &trail, &filter, &options);
            assert_eq!(lines(&bytes), expected, "{filter:?}");
            assert_eq!(summary.filter, filter);
        }
    }
    let role = Filter::new().db_role("nobody of this name");
    assert_eq!(export_to(conn, &trail, &role, &ExportOptions::new(ExportFormat::Ndjson)).1.rows, 0);
    let unknown = Filter::new().table(TableName::new(None, "tags"));
    let mut written = Vec::new();
    let error =
        trail.export(conn, &unknown, &ExportOptions::new(ExportFormat::Csv), &mut written).unwrap_err();
    assert!(matches!(error, Error::NotAudited { .. }) && written.is_empty(), "{error:?}");
}

#[test]
fn the_summary_is_a_manifest_that_says_what_the_file_is() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE posts (id bigint PRIMARY KEY); CREATE TABLE notes (id bigint PRIMARY KEY); CREATE TABLE idle (id bigint PRIMARY KEY);
        SELECT threadline.attach('posts'), threadline.attach('notes'), threadline.attach('idle');
        INSERT INTO posts SELECT n FROM generate_series(1, 300) n; INSERT INTO notes SELECT n FROM generate_series(1, 200) n; DELETE FROM posts",
    );
    let filter = Filter::new().op(Op::Insert).op(Op::Delete);
    let entries = timeline(conn, &Trail::unscoped(), &filter, Order::NewestFirst);
    let options = ExportOptions::new(ExportFormat::Csv).max_rows(600);
    let (_, summary) = export_to(conn, &Trail::unscoped(), &filter, &options);
    assert_eq!(summary.latest, Some(entries[0].change.captured_at));
    assert_eq!(summary.earliest, Some(entries[599].change.captured_at));
    let manifest = serde_json::to_value(&summary).unwrap();
    assert_eq!(
        manifest,
        serde_json::json!({
            "format_version": 1,
            "threadline_version": "0.1.0",
            "generated_at": summary.generated_at,
            "format": "csv",
            "formula_guard": true,
            "filter": {"op": ["insert", "delete"]},
            "scoped": false,
            "order": "newest_first",
            "max_rows": 600,
            "rows": 600,
            "truncated": true,
            "earliest": summary.earliest,
            "latest": summary.latest,
            "tables": [
                {"table": {"schema": "public", "name": "notes"}, "rows": 200},
                {"table": {"schema": "public", "name": "posts"}, "rows": 400},
            ],
            "bytes": summary.bytes,
            "sha256": summary.sha256,
        })
    );
    assert_eq!(serde_json::from_value::<ExportSummary>(manifest).unwrap(), summary);
    // Within a transaction of the caller's, and after one.
    conn.transaction(|conn| {
        let (_, summary) = export_to(conn, &Trail::unscoped(), &filter, &options);
        assert_eq!(summary.rows, 600);
        diesel::QueryResult::Ok(())
    })
    .unwrap();
    // The order turned round covers the other end.
    let (_, summary) = export_to(conn, &Trail::unscoped(), &filter, &options.order(Order::OldestFirst));
    assert_eq!(summary.earliest, Some(entries[799].change.captured_at));
    assert_eq!(summary.latest, Some(entries[200].change.captured_at));
}
