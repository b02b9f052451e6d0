//! How long it takes on a thousand tables. A measurement, not a promise that a slow machine could break:
//! `cargo test -p threadline-tests --test it thousand -- --ignored --nocapture`.

use std::time::Instant;

use threadline::AuditSpec;
use threadline::health::{self, CoverageOptions, HealthOptions, coverage};
use threadline::policy::Declared;
use threadline::verify::{Expected, verify};
use threadline_tests::{audited_database, run, table};

#[test]
#[ignore = "a measurement"]
fn a_thousand_tables() {
    let db = audited_database();
    let conn = &mut db.connect();
    for batch in 0..20 {
        run(
            conn,
            &format!(
                "DO $$ BEGIN FOR n IN {}..{} LOOP
                    EXECUTE format('CREATE TABLE t%s (id bigint PRIMARY KEY, organization_id integer, a text, b text, c numeric, d timestamptz, e uuid, f jsonb, g boolean, h date)', n);
                    PERFORM threadline.attach(format('t%s', n)::regclass, exclude => '{{a}}', scope => 'organization_id');
                END LOOP; END $$",
                batch * 50,
                batch * 50 + 49
            ),
        );
    }
    let spec = AuditSpec { exclude: &["a"], scope: Some("organization_id"), ..AuditSpec::default() };
    let declared: Vec<Declared<'_>> = (0..1000)
        .map(|n| Declared { table: table(&format!("t{n}")), spec, by: format!("blog::T{n}") })
        .collect();
    let expected = Expected::new().declared(declared).scope_column("organization_id");
    for stale in [false, true] {
        if stale {
            run(
                conn,
                "DO $$ BEGIN FOR n IN 0..999 LOOP EXECUTE format('ALTER TABLE t%s ADD COLUMN i integer', n); END LOOP; END $$",
            );
        }
        let conn = &mut db.connect();
        for round in ["first", "again"] {
            let began = Instant::now();
            let covered = coverage(conn, &CoverageOptions::new()).unwrap().len();
            let coverage_took = began.elapsed();
            let began = Instant::now();
            let findings = health::findings(conn, &HealthOptions::catalog_only()).unwrap().len();
            let findings_took = began.elapsed();
            let began = Instant::now();
            let report = verify(conn, &expected).unwrap();
            println!(
                "{round}, stale {stale}: coverage {coverage_took:?} ({covered} tables), findings {findings_took:?} ({findings}), verify {:?} ({} violations)",
                began.elapsed(),
                report.violations.len()
            );
        }
    }
}
