//! What the options of `#[audited(..)]` do.

use super::*;

#[post("/changes/{id}")]
#[audited(action = "note.changed", require_changes)]
async fn changes(conn: &mut PgConnection, id: Path<i64>) -> AppResult<&'static str> {
    diesel::update(notes::table.find(*id)).set(notes::body.eq("changed")).execute(conn)?;
    Ok("changed")
}

#[test]
fn require_changes_is_an_error_when_nothing_was_changed() {
    let host = Host::new();
    run(&mut host.db.connect(), "INSERT INTO notes VALUES (1, '')");
    let [nothing, something] = host.answers(routes, [("/changes/2", ""), ("/changes/1", "")]);
    assert_eq!(nothing.told(), (409, "NoChanges"));
    assert_eq!(something.told(), (200, "changed"));
    assert_eq!(host.trail(), ["nobody - 1", "7 note.changed ok 1"]);
}

#[post("/captured")]
#[audited(capture_only)]
async fn captured(conn: &mut PgConnection, tx: &OpenTransaction) -> AppResult<String> {
    insert(conn, 1, "captured")?;
    Ok(format!("{:?}", tx.action_id()))
}

#[test]
fn capture_only_has_a_context_and_no_action() {
    let host = Host::new();
    assert_eq!(host.answer(routes, "/captured").told(), (200, "None"));
    assert_eq!(host.trail(), ["7 - 1"]);
}

#[post("/nobody/refused")]
#[audited(action = "note.added")]
async fn refused(conn: &mut PgConnection) -> AppResult<&'static str> {
    insert(conn, 1, "refused")?;
    Ok("")
}

#[post("/nobody/allowed")]
#[audited(action = "note.added", allow_missing_actor)]
async fn allowed(conn: &mut PgConnection) -> AppResult<&'static str> {
    insert(conn, 2, "allowed")?;
    Ok("")
}

#[test]
fn missing_actor_is_refused_unless_the_handler_allows_it() {
    let host = Host::new();
    let [without, with] = host.answers(routes, [("/nobody/refused", ""), ("/nobody/allowed", "")]);
    assert_eq!(without.told(), (401, ""));
    assert_eq!(with.told(), (200, ""));
    assert_eq!(host.trail(), ["nobody note.added ok 1"]);
}

fn level(conn: &mut PgConnection) -> AppResult<String> {
    use diesel::dsl::sql;
    Ok(diesel::select(sql::<diesel::sql_types::Text>("current_setting('transaction_isolation')"))
        .get_result(conn)?)
}

#[post("/read_committed")]
#[audited(capture_only, isolation = "read_committed")]
async fn read_committed(conn: &mut PgConnection) -> AppResult<String> {
    level(conn)
}

#[post("/repeatable_read")]
#[audited(capture_only, isolation = "repeatable_read")]
async fn repeatable_read(conn: &mut PgConnection) -> AppResult<String> {
    level(conn)
}

#[post("/serializable")]
#[audited(capture_only, isolation = "serializable")]
async fn serializable(conn: &mut PgConnection) -> AppResult<String> {
    level(conn)
}

#[post("/default")]
#[audited(capture_only)]
async fn default(conn: &mut PgConnection) -> AppResult<String> {
    level(conn)
}

#[test]
fn isolation_is_the_transactions_and_by_default_the_servers() {
    let host = Host::new();
    // For the connections that are opened after it; the pool has one already.
    let name = host.db.name();
    host.db
        .connect()
        .batch_execute(&format!(
            "ALTER DATABASE {name} SET default_transaction_isolation = 'repeatable read'"
        ))
        .expect("the database is the test's own");
    let pool = Pool::builder().max_size(1).build(ConnectionManager::new(host.db.url())).unwrap();
    let host = Host { pool: AuditedPool::new(pool), ..host };
    let paths = ["/read_committed", "/serializable", "/default", "/repeatable_read", "/default"];
    let levels = host.answers(routes, paths.map(|path| (path, ""))).map(|reply| reply.body);
    assert_eq!(
        levels,
        ["read committed", "serializable", "repeatable read", "repeatable read", "repeatable read"]
    );
}

#[post("/announced/{id}")]
#[audited(action = "note.added", response_header)]
async fn announced(conn: &mut PgConnection, id: Path<i64>) -> AppResult<HttpResponse> {
    insert(conn, *id, "announced")?;
    Ok(HttpResponse::Accepted().finish())
}

#[test]
fn response_header_is_the_transaction_in_the_trail_and_only_of_one_that_is_committed() {
    let host = Host::new();
    let paths = ["/announced/2", "/announced/2", "/captured"];
    let [committed, rolled_back, silent] = host.answers(routes, paths.map(|path| (path, "")));
    let id = text(
        &mut host.db.connect(),
        "SELECT id FROM threadline.audit_transactions WHERE action_id IS NOT NULL",
    );
    assert_eq!(committed.header("x-audit-transaction-id"), [id]);
    assert_eq!(rolled_back.status, 500);
    assert!(rolled_back.header("x-audit-transaction-id").is_empty());
    assert!(silent.header("x-audit-transaction-id").is_empty());
}

fn routes(config: &mut ServiceConfig) {
    config
        .service(changes)
        .service(captured)
        .service(refused)
        .service(allowed)
        .service(read_committed)
        .service(repeatable_read)
        .service(serializable)
        .service(default)
        .service(announced);
}
