//! Extractors, patterns and generics.

use super::*;

#[derive(Debug, Deserialize)]
struct Note {
    body: String,
    kind: String,
}

#[post("/{id}/{number}")]
#[audited(action = format!("note.{}", note.kind), verb = path.1.as_str(), category = "notes", comment = note.body.clone())]
async fn taken_apart(
    path: Path<(i64, String)>,
    mut conn: &mut PgConnection,
    Json(mut note): Json<Note>,
    tx: &OpenTransaction,
    web::Query(mut query): web::Query<Vec<(String, String)>>,
) -> AppResult<String> {
    let (id, number) = path.into_inner();
    note.body.push('!');
    query.push(("sum".to_owned(), (number.parse::<i64>()? + id).to_string()));
    insert(conn, id, &note.body)?;
    let again = &mut *conn;
    conn = again;
    insert(conn, id + 1, &query.pop().map_or_else(String::new, |(_, value)| value))?;
    Ok(format!("{} {}", tx.id(), query.len()))
}

/// By its name it could be the one of actix-session, which is bound to its thread.
struct Session(i64);

impl FromRequest for Session {
    type Error = AppError;
    type Future = Ready<Result<Self, AppError>>;

    fn from_request(_: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(Ok(Self(70)))
    }
}

#[audited(capture_only)]
async fn own_session(conn: &mut PgConnection, session: self::Session) -> AppResult<&'static str> {
    insert(conn, session.0, "session")?;
    Ok("")
}

#[test]
fn own_type_is_told_from_a_thread_bound_one_of_that_name_by_its_path() {
    let host = Host::new();
    assert_eq!(host.answer(routes, "/session").status, 200);
    assert_eq!(host.notes(), ["70 session"]);
}

fn routes(config: &mut ServiceConfig) {
    config.service(taken_apart).route("/session", web::post().to(own_session));
}

#[test]
fn extractors_keep_their_patterns_and_the_action_is_made_of_them_before_the_body_takes_them() {
    let host = Host::new();
    let note = r#"{"body": "text", "kind": "added"}"#;
    let [added, bad] = host.answers(routes, [("/1/40?a=b", note), ("/3/forty", note)]);
    let mut conn = host.db.connect();
    let id = text(&mut conn, "SELECT id FROM threadline.audit_transactions");
    assert_eq!(added.told(), (200, &*format!("{id} 1")));
    assert_eq!(host.notes(), ["1 text!", "2 41"]);
    let action = "SELECT concat_ws(' ', name, verb, category, comment) FROM threadline.audit_actions";
    assert_eq!(text(&mut conn, action), "note.added 40 notes text");
    // `?` has converted the error, and the application has answered.
    assert_eq!(bad.told(), (400, "the application's own"));
    assert_eq!(host.trail(), ["7 note.added ok 2"]);
}
