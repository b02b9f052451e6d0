//! What each format says, and how it says nothing and too much.

use super::*;

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
            "removed": [],
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
