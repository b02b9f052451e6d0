//! A secret in an excluded or masked column reaches no byte of the audit schema, whatever happens to its table.

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use threadline_devdb::TestDatabase;
use threadline_tests::{audited_database, changes, refused, run, text, texts};

/// No test writes it but as a value of a redacted column.
const SECRET: &str = "xyzzy7d1";

/// A column of each kind of redaction, a key that moves, a scope, and a child to cascade to.
const ACCOUNTS: &str = "CREATE TABLE accounts (id integer PRIMARY KEY, org text, name text, password text, email text, card bytea, meta jsonb);
    CREATE TABLE tokens (id integer PRIMARY KEY, account integer REFERENCES accounts ON UPDATE CASCADE ON DELETE CASCADE, token text NOT NULL);
    SELECT threadline.attach('accounts', exclude => '{password,card}', mask => '{email,meta}', scope => 'org', on_truncate => 'keep');
    SELECT threadline.attach('tokens', mask => '{token}', on_truncate => 'keep')";

/// What a host does with such a table, every redacted value a secret.
fn use_table(conn: &mut PgConnection, table: &str, columns: &[&str]) {
    let list = columns.join(", ");
    let secrets = vec![format!("'{SECRET}'"); columns.len()].join(", ");
    let set = |suffix: &str| {
        columns.iter().map(|column| format!("{column} = '{SECRET}{suffix}'")).collect::<Vec<_>>().join(", ")
    };
    for sql in [
        format!("INSERT INTO {table} (id, {list}) VALUES (100, {secrets}), (101, {secrets})"),
        format!("UPDATE {table} SET {} WHERE id = 100", set("2")),
        format!(
            "UPDATE {table} SET {} WHERE id = 100",
            columns.iter().map(|c| format!("{c} = NULL")).collect::<Vec<_>>().join(", ")
        ),
        format!(
            "INSERT INTO {table} (id, {list}) VALUES (101, {secrets}) ON CONFLICT (id) DO UPDATE SET {}",
            set("3")
        ),
        format!("UPDATE {table} SET id = id + 10, {} WHERE id = 101", set("4")),
        format!("DELETE FROM {table} WHERE id >= 100"),
        format!("INSERT INTO {table} (id, {list}) SELECT n, {secrets} FROM generate_series(100, 102) n"),
    ] {
        run(conn, &sql);
    }
}

fn dump(db: &TestDatabase) -> String {
    let output = db.command("pg_dump").args(["--schema=threadline", "--inserts"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn assert_no_secret(db: &TestDatabase, what: &str) {
    // As text, as jsonb escapes nothing of it, and as bytea writes it in hexadecimal.
    let hex: String = SECRET.bytes().map(|byte| format!("{byte:02x}")).collect();
    for line in dump(db).lines() {
        assert!(!line.contains(SECRET) && !line.contains(&hex), "{what}: {line}");
    }
}

#[test]
fn no_operation_leaks_an_excluded_or_masked_value() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, ACCOUNTS);
    run(conn, "ALTER TABLE accounts ALTER meta TYPE text");
    run(conn, "SELECT threadline.refresh('accounts')");
    use_table(conn, "accounts", &["password", "email", "meta", "card"]);
    run(conn, &format!("INSERT INTO tokens SELECT n, n, '{SECRET}' FROM generate_series(100, 102) n"));
    run(conn, "UPDATE accounts SET id = id + 50 WHERE id = 100");
    run(conn, "DELETE FROM accounts WHERE id = 150");
    run(
        conn,
        &format!(
            "COPY accounts (id, password, email) FROM PROGRAM 'echo \"7,{SECRET},{SECRET}\"' (FORMAT csv)"
        ),
    );
    run(
        conn,
        &format!(
            "MERGE INTO accounts a USING (SELECT 7 AS id) s ON a.id = s.id WHEN MATCHED THEN UPDATE SET email = '{SECRET}9', name = 'n'"
        ),
    );
    run(conn, "TRUNCATE accounts, tokens");
    assert_no_secret(&db, "operations");

    // That it happened is recorded: a masked column by its name, an excluded one not even so.
    assert!(changes(conn, "accounts").contains(
        &r#"U 100 {"meta": ["[REDACTED]", "[REDACTED]"], "email": ["[REDACTED]", "[REDACTED]"]}"#.to_owned()
    ));
    let of_values = "SELECT count(*) FROM threadline.audit_changes WHERE table_id = 1 AND coalesce(row_data, diff)::jsonb ?| '{password,card}'";
    assert_eq!(text(conn, of_values), "0");
    assert_eq!(
        text(
            conn,
            "SELECT string_agg(DISTINCT masked::text, ' ') FROM threadline.audit_changes WHERE op = 'D' AND table_id = 1"
        ),
        "{email,meta}"
    );
    run(conn, "INSERT INTO accounts (id) VALUES (1)");
    let before = changes(conn, "accounts").len();
    run(conn, &format!("UPDATE accounts SET password = '{SECRET}'"));
    assert_eq!(changes(conn, "accounts").len(), before, "an excluded column alone makes no change");
}

#[test]
fn a_failing_statement_leaks_nothing_into_the_trail_nor_into_our_own_errors() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, ACCOUNTS);
    run(
        conn,
        "SELECT threadline.attach('tokens', mask => '{token}', actor_policy => 'require', on_truncate => 'refuse')",
    );
    run(conn, "INSERT INTO accounts (id) VALUES (1)");
    let refusal = refused(conn, &format!("INSERT INTO tokens VALUES (1, 1, '{SECRET}')"));
    assert!(refusal.contains("tokens") && !refusal.contains(SECRET), "{refusal}");
    run(
        conn,
        &format!(
            "BEGIN; SET LOCAL threadline.actor_ref = '{{\"type\": \"system\", \"id\": \"t\"}}'; INSERT INTO tokens VALUES (1, 1, '{SECRET}'); COMMIT"
        ),
    );
    assert!(!refused(conn, "TRUNCATE tokens").contains(SECRET));
    let refusal = refused(
        conn,
        &format!(
            "SELECT threadline.set_context('{{\"{SECRET}\": \"{SECRET}\", \"request_id\": [\"{SECRET}\"]}}')"
        ),
    );
    assert!(!refusal.contains(SECRET), "{refusal}");
    run(
        conn,
        &format!(
            "BEGIN; SET LOCAL threadline.context = '{{\"password\": \"{SECRET}\"'; INSERT INTO accounts (id) VALUES (2); COMMIT"
        ),
    );
    // A swallowed failure, and one that is not.
    run(
        conn,
        &format!(
            "DO $$ BEGIN INSERT INTO accounts (id, password) VALUES (3, '{SECRET}'); INSERT INTO accounts (id, password) VALUES (1, '{SECRET}');
            EXCEPTION WHEN unique_violation THEN INSERT INTO accounts (id, email) VALUES (4, '{SECRET}'); END $$"
        ),
    );
    assert!(
        conn.batch_execute(&format!("INSERT INTO accounts (id, password) VALUES (4, '{SECRET}')")).is_err()
    );
    assert_no_secret(&db, "failing statements");
}

/// Migrations on the way of `email` (masked) and `password` (excluded); afterwards these columns hold secrets.
const MIGRATIONS: &[(&str, &[&str])] = &[
    ("ALTER TABLE accounts ADD COLUMN backup_email text", &["email", "password", "backup_email"]),
    ("ALTER TABLE accounts DROP COLUMN name", &["email", "password"]),
    ("ALTER TABLE accounts DROP COLUMN email", &["password", "card"]),
    ("ALTER TABLE accounts RENAME email TO mail", &["mail", "password"]),
    ("ALTER TABLE accounts RENAME password TO digest", &["email", "digest"]),
    (
        "ALTER TABLE accounts RENAME password TO t; ALTER TABLE accounts RENAME name TO password; ALTER TABLE accounts RENAME t TO name",
        &["name", "password", "email"],
    ),
    (
        "ALTER TABLE accounts RENAME email TO t; ALTER TABLE accounts RENAME org TO email; ALTER TABLE accounts RENAME t TO org",
        &["org", "email", "password"],
    ),
    (
        "ALTER TABLE accounts ALTER email TYPE varchar(99), ALTER card TYPE text USING encode(card, 'escape')",
        &["email", "card"],
    ),
    (
        "ALTER TABLE accounts DROP COLUMN email, ADD COLUMN email text, ADD COLUMN password2 text",
        &["email", "password2"],
    ),
    (
        "CREATE DOMAIN secret AS text; ALTER TABLE accounts ALTER password TYPE secret, ADD COLUMN extra secret",
        &["password", "extra"],
    ),
    (
        "ALTER TABLE accounts RENAME id TO key; ALTER TABLE accounts RENAME email TO mail; ALTER TABLE accounts ADD COLUMN id integer UNIQUE",
        &["mail", "password"],
    ),
];

#[test]
fn no_schema_drift_leaks_before_the_refresh_nor_after_it() {
    for (migration, columns) in MIGRATIONS {
        let db = audited_database();
        let (conn, warm) = (&mut db.connect(), &mut db.connect());
        run(conn, ACCOUNTS);
        run(conn, "ALTER TABLE accounts DROP COLUMN meta");
        run(conn, "SELECT threadline.refresh('accounts')");
        for session in [&mut *conn, &mut *warm] {
            run(
                session,
                "INSERT INTO accounts VALUES (1, 'o', 'n', 'p', 'e'); UPDATE accounts SET name = 'm', email = 'f'; DELETE FROM accounts",
            );
        }
        // What was there before the migration is secret too.
        run(
            conn,
            &format!(
                "INSERT INTO accounts (id, password, email) SELECT n, '{SECRET}', '{SECRET}' FROM generate_series(1, 4) n"
            ),
        );
        let key = |sql: &str| {
            if migration.contains("id TO key") { sql.replace("id", "key") } else { sql.to_owned() }
        };
        run(conn, migration);
        let with_id: Vec<&str> =
            columns.iter().copied().filter(|_| !migration.contains("id TO key")).collect();
        if with_id.is_empty() {
            run(
                conn,
                &format!("INSERT INTO accounts (key, mail, password) VALUES (9, '{SECRET}', '{SECRET}')"),
            );
        } else {
            for session in [&mut *warm, &mut *conn] {
                use_table(session, "accounts", columns);
                run(session, "DELETE FROM accounts WHERE id >= 100");
            }
        }
        run(warm, &key("UPDATE accounts SET id = id + 20 WHERE id = 1"));
        run(warm, &key("DELETE FROM accounts WHERE id = 2"));
        run(conn, "BEGIN; TRUNCATE accounts CASCADE; SAVEPOINT kept; COMMIT");
        assert_no_secret(&db, &format!("before the refresh: {migration}"));

        // Where old and new names disagree both are redacted; a new column is in the clear from here on.
        let refresh = texts(conn, "SELECT outcome FROM threadline.refresh_all()");
        assert!(refresh.iter().all(|outcome| !outcome.starts_with("failed")), "{migration}: {refresh:?}");
        let known: Vec<&str> = columns
            .iter()
            .copied()
            .filter(|column| !["backup_email", "password2", "extra"].contains(column))
            .collect();
        if !with_id.is_empty() {
            use_table(conn, "accounts", &known);
        }
        run(conn, "TRUNCATE accounts CASCADE");
        assert_no_secret(&db, &format!("after the refresh: {migration}"));
    }
}

#[test]
fn an_alteration_after_the_snapshot_leaks_nothing() {
    for (migration, columns) in MIGRATIONS.iter().filter(|(migration, _)| !migration.contains("id TO key")) {
        let db = audited_database();
        let (conn, other) = (&mut db.connect(), &mut db.connect());
        run(other, ACCOUNTS);
        for warm in [false, true] {
            if warm {
                run(
                    conn,
                    "BEGIN; INSERT INTO accounts (id) VALUES (1); UPDATE accounts SET org = 'm'; DELETE FROM accounts; ROLLBACK",
                );
            }
            run(conn, "BEGIN ISOLATION LEVEL REPEATABLE READ");
            text(conn, "SELECT count(*) FROM pg_class");
            if !warm {
                run(other, migration);
            }
            use_table(conn, "accounts", columns);
            run(conn, "TRUNCATE accounts, tokens");
            run(conn, "COMMIT");
            assert_no_secret(&db, &format!("warm: {warm}: {migration}"));
        }
    }
}

#[test]
fn a_redacted_column_that_becomes_the_key_does_not_leak_through_it() {
    for (migration, columns) in [
        ("ALTER TABLE accounts DROP COLUMN id, ADD PRIMARY KEY (email)", "email"),
        (
            "ALTER TABLE accounts DROP CONSTRAINT accounts_pkey, ADD PRIMARY KEY (email); ALTER TABLE accounts DROP COLUMN id",
            "email",
        ),
        (
            "ALTER TABLE accounts ALTER id TYPE text; ALTER TABLE accounts RENAME id TO t; ALTER TABLE accounts RENAME email TO id; ALTER TABLE accounts RENAME t TO email",
            "email, id",
        ),
    ] {
        let db = audited_database();
        let conn = &mut db.connect();
        run(
            conn,
            "CREATE TABLE accounts (id integer PRIMARY KEY, email text NOT NULL);
            SELECT threadline.attach('accounts', mask => '{email}', on_truncate => 'keep')",
        );
        run(conn, migration);
        let secrets = vec![format!("'{SECRET}'"); columns.split(',').count()].join(", ");
        run(conn, &format!("INSERT INTO accounts ({columns}) VALUES ({secrets})"));
        run(conn, "UPDATE accounts SET email = email || '2'");
        let outcome = text(conn, "SELECT outcome FROM threadline.refresh_all()");
        assert!(outcome.starts_with("failed") && outcome.contains("email"), "{outcome}");
        run(conn, "TRUNCATE accounts");
        assert_no_secret(&db, migration);
        assert_eq!(text(conn, "SELECT count(*) FROM threadline.audit_changes"), "3");
    }
}

#[test]
fn a_new_column_is_masked_until_an_attach_says_what_it_is() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(
        conn,
        "CREATE TABLE a (id integer PRIMARY KEY, s text); CREATE TABLE b (id integer PRIMARY KEY, s text);
        SELECT threadline.attach('a', exclude => '{s}', mask_placeholder => '***'), threadline.attach('b')",
    );
    run(
        conn,
        "ALTER TABLE a ADD COLUMN n integer; ALTER TABLE b ADD COLUMN n integer; INSERT INTO a VALUES (1, 's', 5); INSERT INTO b VALUES (1, 's', 5)",
    );
    assert_eq!(changes(conn, "a"), [r#"I 1 {"n": "***", "id": 1}"#]);
    assert_eq!(changes(conn, "b"), [r#"I 1 {"n": 5, "s": "s", "id": 1}"#]);
    run(conn, "SELECT threadline.refresh_all()");
    run(conn, "UPDATE a SET n = 6; UPDATE b SET n = 6");
    assert_eq!(changes(conn, "a")[1], r#"U 1 {"n": ["***", "***"]}"#);
    assert_eq!(changes(conn, "b")[1], r#"U 1 {"n": [5, 6]}"#);
    run(conn, "SELECT threadline.attach('a', exclude => '{s}', mask_placeholder => '***')");
    run(conn, "UPDATE a SET n = 7");
    assert_eq!(changes(conn, "a")[2], r#"U 1 {"n": [6, 7]}"#);
}

#[test]
fn whoever_attaches_a_table_with_less_redaction_than_it_had_is_warned() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, "CREATE TABLE users (id integer PRIMARY KEY, email text, hash text)");
    run(
        conn,
        "SELECT threadline.attach('users', exclude => '{hash}', mask => '{email}'); SELECT threadline.detach('users')",
    );
    let warned = |sql: &str| {
        let ran = db.command("psql").args(["-XqAt", "-v", "ON_ERROR_STOP=1", "-c", sql]).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        String::from_utf8(ran.stderr).unwrap()
    };
    assert_eq!(warned("SELECT threadline.attach('users', exclude => '{email}', mask => '{hash}')"), "");
    let said = warned("SELECT threadline.attach('users', mask => '{hash}')");
    assert!(
        said.contains(r#"table public.users was audited without the values of "email", and is with them"#),
        "{said}"
    );
    run(conn, "SELECT threadline.detach('users')");
    let said = warned("SELECT threadline.attach('users')");
    assert!(said.contains(r#"without the values of "hash""#), "{said}");
}
