//! What leaves no trace but, where it is asked for, that it was tried.

use super::*;

#[post("/{way}")]
#[audited(action = "note.tried")]
async fn tried(conn: &mut PgConnection, way: Path<String>) -> AppResult<&'static str> {
    insert(conn, 1, &way)?;
    fail(conn, &way)?;
    Ok("done")
}

#[post("/recorded/{way}")]
#[audited(action = "note.tried", record_failures)]
async fn recorded(conn: &mut PgConnection, way: Path<String>) -> AppResult<&'static str> {
    insert(conn, 1, &way)?;
    fail(conn, &way)?;
    Ok("done")
}

fn fail(conn: &mut PgConnection, way: &str) -> AppResult<()> {
    match way {
        "duplicate" => _ = insert(conn, 1, "again")?,
        "swallowed" => _ = insert(conn, 1, "again"),
        "panic" => panic!("the body of a test's handler"),
        _ => {}
    }
    Ok(())
}

fn routes(config: &mut ServiceConfig) {
    config.service(tried).service(recorded);
}

#[test]
fn error_panic_and_swallowed_error_roll_back_and_the_pool_works_after() {
    let host = Host::new();
    let paths = ["/duplicate", "/panic", "/swallowed", "/nothing"];
    let [duplicate, panic, swallowed, nothing] = host.answers(routes, paths.map(|path| (path, "")));
    assert_eq!(duplicate.told(), (500, "the application's own"));
    assert_eq!(panic.told(), (500, "the body of an audited handler panicked; everything is rolled back"));
    assert_eq!(swallowed.status, 500);
    assert!(swallowed.body.starts_with("Aborted("), "{}", swallowed.body);
    assert_eq!(nothing.told(), (200, "done"));
    assert_eq!(host.notes(), ["1 nothing"]);
    assert_eq!(host.trail(), ["7 note.tried ok 1"]);
}

#[test]
fn record_failures_keeps_the_action_of_what_was_rolled_back() {
    let host = Host::new();
    let paths = ["/recorded/duplicate", "/recorded/panic", "/recorded/nothing"];
    let replies = host.answers(routes, paths.map(|path| (path, "")));
    assert_eq!(replies.map(|reply| reply.status.as_u16()), [500, 500, 200]);
    assert_eq!(host.notes(), ["1 nothing"]);
    assert_eq!(host.trail(), ["7 note.tried error 0", "7 note.tried error 0", "7 note.tried ok 1"]);
    let reasons = "SELECT reason FROM threadline.audit_actions ORDER BY occurred_at";
    assert_eq!(
        texts(&mut host.db.connect(), reasons),
        ["the body returned an error", "the body panicked", "NULL"]
    );
}
