//! Health: each finding caused, seen, mended by the fix it prints, and gone.

mod access;
mod capture;
mod coverage;
mod few_rights;
mod recent;
mod schema;
mod trail;

use diesel::PgConnection;
use diesel::connection::SimpleConnection;
use threadline::health::{self, Finding, FindingCode, HealthOptions};
use threadline_tests::{audited_database, run};

/// What is found, but for the settings of the tests' own server, which does not survive crashes by intent.
fn found(conn: &mut PgConnection, options: &HealthOptions) -> Vec<Finding> {
    let findings = health::findings(conn, options).unwrap();
    let of_tests = |finding: &Finding| {
        finding.code == FindingCode::DangerousSetting
            && (finding.details["setting"] == "fsync" || finding.details["setting"] == "full_page_writes")
    };
    findings.into_iter().filter(|finding| !of_tests(finding)).collect()
}

/// The codes of what is found, each with its table.
fn codes(findings: &[Finding]) -> Vec<String> {
    let name = |finding: &Finding| {
        finding.table_name().map(|table| format!(" {}", table.to_plain())).unwrap_or_default()
    };
    findings.iter().map(|finding| format!("{}{}", finding.code, name(finding))).collect()
}

/// Runs the fix of every finding of a code, as the owner would paste it.
fn mend(conn: &mut PgConnection, findings: &[Finding], code: FindingCode) {
    for finding in findings.iter().filter(|finding| finding.code == code) {
        conn.batch_execute(&finding.fix).unwrap_or_else(|error| panic!("{error}: {}", finding.fix));
    }
}

/// Nothing is found after `setup`; after `cause` exactly `expected`; and nothing again once the fixes of `code` have been run.
#[track_caller]
fn prove(setup: &str, cause: &str, code: FindingCode, expected: &[&str]) {
    let db = audited_database();
    let conn = &mut db.connect();
    let options = HealthOptions::catalog_only();
    run(conn, setup);
    assert_eq!(codes(&found(conn, &options)), [""; 0], "before");
    for statement in cause.split("\n--\n") {
        run(conn, statement);
    }
    let findings = found(conn, &options);
    assert_eq!(codes(&findings), expected, "{findings:#?}");
    mend(conn, &findings, code);
    let left = found(conn, &options);
    assert_eq!(codes(&left), [""; 0], "{left:#?}\nafter {findings:#?}");
}

const NOTES: &str = r#"CREATE SCHEMA "My Blog"; CREATE TABLE "My Blog"."Odd ""Notes""" (id integer PRIMARY KEY, body text, secret text);
    SELECT threadline.attach('"My Blog"."Odd ""Notes"""', exclude => ARRAY['secret'])"#;
const EVENTS: &str = "CREATE TABLE events (id integer PRIMARY KEY, v integer) PARTITION BY RANGE (id);
    CREATE TABLE events_low PARTITION OF events FOR VALUES FROM (0) TO (100) PARTITION BY RANGE (id);
    CREATE TABLE events_lowest PARTITION OF events_low FOR VALUES FROM (0) TO (10);
    CREATE TABLE \"Events High\" PARTITION OF events FOR VALUES FROM (100) TO (200);
    SELECT threadline.attach('events')";
