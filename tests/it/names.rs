//! Any name PostgreSQL allows is a name like any other.

use diesel::PgConnection;
use threadline::{HistoryLimit, RowKey, TableName, Trail};
use threadline_tests::{audited_database, run, text, texts};

/// 63 bytes, most of them halves of a character.
const LONGEST: &str = "äöüßéèêñçøåæðþœžščřýáíóúůťďěňłż!";

#[test]
fn hostile_names_go_through_every_feature() {
    let db = audited_database();
    let conn = &mut db.connect();
    assert_eq!(LONGEST.len(), 63);
    let names = [
        "Mixed",
        "with space",
        "quo\"te's",
        "select",
        "a,b;c",
        "back\\slash",
        "$1 %s %I {}",
        "OLD",
        "new",
        "!threadline_capture",
        "diff",
        "-- x",
        LONGEST,
    ];
    for (number, name) in names.iter().enumerate() {
        let other = names[(number + 1) % names.len()];
        let third = names[(number + 2) % names.len()];
        let quote = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let literal = |name: &str| format!("'{}'", name.replace('\'', "''"));
        let (key, secret, plain) = (quote(name), quote(other), quote(third));
        let table = TableName::new(Some(name), name);
        run(
            conn,
            &format!(
                "CREATE SCHEMA IF NOT EXISTS {key}; CREATE TABLE {key}.{key} ({key} integer, {secret} text, {plain} text, z integer, PRIMARY KEY ({key}));
                SELECT threadline.attach({}::regclass, mask => ARRAY[{}], scope => {}, ignore => '{{z}}', on_truncate => 'keep', actor_policy => 'allow')",
                literal(&table.to_sql()),
                literal(other),
                literal(third)
            ),
        );
        run(
            conn,
            &format!(
                "INSERT INTO {key}.{key} VALUES (1, 's3cret', 'p', 1); UPDATE {key}.{key} SET {secret} = 's3cret2', {plain} = 'q', z = 2;
                UPDATE {key}.{key} SET {key} = 2; DELETE FROM {key}.{key}; INSERT INTO {key}.{key} VALUES (2, 's3cret', 'p', 1)"
            ),
        );
        run(conn, &format!("TRUNCATE {key}.{key}"));
        run(
            conn,
            &format!(
                "ALTER TABLE {key}.{key} ADD COLUMN {} text; INSERT INTO {key}.{key} VALUES (2, 's3cret', 'p', 1, 's3cret')",
                quote("late \"column\"")
            ),
        );
        let history = Trail::unscoped()
            .row_history(conn, &table, &RowKey::new([(*name, "2")]).unwrap(), HistoryLimit::All)
            .unwrap();
        assert_eq!(history.versions.len(), 5, "{name}");
        assert!(history.versions.iter().all(|version| !version.gap), "{name}: {history:#?}");
        assert_eq!(history.versions[0].after.present().unwrap().columns[third].as_str(), "\"p\"", "{name}");
        assert_eq!(
            text(conn, &format!("SELECT threadline.refresh({}::regclass)", literal(&table.to_sql()))),
            "true"
        );
        assert_eq!(
            text(
                conn,
                &format!(
                    "SELECT count(*) FROM threadline.audit_changes WHERE table_id = {} AND scope IS NULL",
                    number + 1
                )
            ),
            "0"
        );
    }
    assert_eq!(
        text(conn, "SELECT count(*) FROM threadline.audit_changes c WHERE c::text LIKE '%s3cret%'"),
        "0"
    );
    let outcomes = texts(conn, "SELECT outcome FROM threadline.refresh_all()");
    assert!(outcomes.iter().all(|outcome| outcome == "up to date"), "{outcomes:?}");
}

#[test]
fn tables_whose_names_run_together_share_nothing() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE SCHEMA a; CREATE SCHEMA a_b;
        CREATE TABLE public.a_b (id integer PRIMARY KEY, v text); CREATE TABLE a.b (id integer PRIMARY KEY, v text);
        CREATE TABLE a_b.b (id integer PRIMARY KEY, v text); CREATE TABLE public.b (id integer PRIMARY KEY, v text);
        SELECT threadline.attach('a.b', exclude => '{v}'), threadline.attach('public.a_b'), threadline.attach('a_b.b', mask => '{v}'), threadline.attach('public.b')",
    );
    for table in ["a.b", "public.a_b", "a_b.b", "public.b"] {
        run(conn, &format!("INSERT INTO {table} VALUES (1, 'x')"));
    }
    assert_eq!(
        texts(
            conn,
            "SELECT t.schema_name || '.' || t.table_name || ' ' || c.row_data::jsonb FROM threadline.audit_changes c JOIN threadline.audited_tables t ON t.id = c.table_id ORDER BY t.id"
        ),
        [
            r#"a.b {"id": 1}"#,
            r#"public.a_b {"v": "x", "id": 1}"#,
            r#"a_b.b {"v": "[REDACTED]", "id": 1}"#,
            r#"public.b {"v": "x", "id": 1}"#
        ]
    );
    // Dropping, detaching or renaming one leaves the others alone; a name that is taken over is another table.
    run(conn, "DROP TABLE a.b CASCADE; SELECT threadline.detach('a_b.b'); ALTER TABLE public.b RENAME TO c");
    run(conn, "CREATE TABLE public.b (id integer PRIMARY KEY, v text); SELECT threadline.attach('public.b')");
    run(
        conn,
        "INSERT INTO public.b VALUES (1, 'new b'); INSERT INTO public.c VALUES (2, 'old b'); INSERT INTO public.a_b VALUES (2, 'y'); INSERT INTO a_b.b VALUES (2, 'unseen')",
    );
    assert_eq!(
        texts(
            conn,
            "SELECT table_id || ' ' || row_key FROM threadline.audit_changes ORDER BY captured_at OFFSET 4"
        ),
        ["5 1", "4 2", "2 2"]
    );
    let count = |conn: &mut PgConnection, name: &str| {
        Trail::unscoped()
            .row_history(
                conn,
                &TableName::new(Some("public"), name),
                &RowKey::new([("id", "1")]).unwrap(),
                HistoryLimit::All,
            )
            .unwrap()
            .versions
            .len()
    };
    assert_eq!((count(conn, "b"), count(conn, "c")), (1, 1));
}

#[test]
fn a_table_as_wide_as_postgresql_allows_is_captured() {
    let db = audited_database();
    let conn = &mut db.connect();
    for width in [300, 1600] {
        let table = format!("wide_{width}");
        let columns: Vec<String> =
            (1..width).map(|n| format!("column_with_a_rather_long_name_{n} smallint")).collect();
        run(conn, &format!("CREATE TABLE {table} (id integer PRIMARY KEY, {})", columns.join(", ")));
        for mask in ["{}", "{column_with_a_rather_long_name_7}"] {
            run(conn, &format!("SELECT threadline.attach('{table}', mask => '{mask}')"));
            run(
                conn,
                &format!(
                    "INSERT INTO {table} (id, column_with_a_rather_long_name_7) VALUES (1, 1); UPDATE {table} SET column_with_a_rather_long_name_9 = 2; DELETE FROM {table}"
                ),
            );
        }
        run(conn, &format!("ALTER TABLE {table} RENAME column_with_a_rather_long_name_8 TO eight"));
        run(conn, &format!("INSERT INTO {table} (id, eight) VALUES (1, 1); UPDATE {table} SET eight = 2"));
        assert_eq!(
            texts(conn, &format!("SELECT op::text || (SELECT count(*) FROM json_object_keys(coalesce(diff, row_data)))
                FROM threadline.audit_changes WHERE table_id = threadline.table_id('{table}'::regclass) ORDER BY captured_at")),
            ["I", "U", "D", "I", "U", "D", "I", "U"].map(|op| if op == "U" { "U1".to_owned() } else { format!("{op}{width}") })
        );
        assert_eq!(threadline_tests::states(conn, &table, "id=1").len(), 9);
    }
}
