//! What a body may answer with.

use super::*;

#[post("/json")]
#[audited(capture_only)]
async fn json(conn: &mut PgConnection) -> AppResult<Json<serde_json::Value>> {
    insert(conn, 1, "json")?;
    Ok(Json(json!({"id": 1})))
}

#[post("/created")]
#[audited(capture_only)]
async fn created(conn: &mut PgConnection) -> AppResult<(Json<i64>, StatusCode)> {
    insert(conn, 2, "created")?;
    Ok((Json(2), StatusCode::CREATED))
}

#[post("/responder")]
#[audited(capture_only)]
async fn responder(conn: &mut PgConnection) -> AppResult<impl Responder> {
    insert(conn, 3, "responder")?;
    Ok("responder".customize().with_status(StatusCode::ACCEPTED).insert_header(("x-own", "a")))
}

#[post("/nested")]
#[audited(capture_only)]
async fn nested(conn: &mut PgConnection) -> AppResult<(impl Responder, StatusCode)> {
    insert(conn, 4, "nested")?;
    Ok(("nested", StatusCode::ACCEPTED))
}

#[post("/text")]
#[audited(capture_only)]
async fn text(conn: &mut PgConnection) -> AppResult<String> {
    insert(conn, 5, "text")?;
    Ok("text".to_owned())
}

#[post("/library")]
#[audited(capture_only)]
async fn library(_: &mut PgConnection) -> Result<&'static str, threadline_actix::Error> {
    Ok("the library's own error")
}

fn routes(config: &mut ServiceConfig) {
    config
        .service(json)
        .service(created)
        .service(responder)
        .service(nested)
        .service(text)
        .service(library)
        .service(response)
        .service(bare)
        .service(streaming)
        .service(refused);
}

#[test]
fn answers_of_every_kind_are_taken() {
    let host = Host::new();
    let paths = ["/json", "/created", "/responder", "/nested", "/text", "/library"];
    let replies = host.answers(routes, paths.map(|path| (path, "")));
    assert_eq!(
        replies.each_ref().map(Reply::told),
        [
            (200, r#"{"id":1}"#),
            (201, "2"),
            (202, "responder"),
            (202, "nested"),
            (200, "text"),
            (200, "the library's own error")
        ]
    );
    assert_eq!(replies[2].header("x-own"), ["a"]);
    assert_eq!(host.notes().len(), 5);
}

#[post("/response")]
#[audited(capture_only)]
async fn response(conn: &mut PgConnection) -> AppResult<HttpResponse> {
    insert(conn, 6, "response")?;
    let mut response = HttpResponse::Created()
        .content_type("text/x-own; charset=ascii")
        .append_header(("set-cookie", "a=1"))
        .append_header(("set-cookie", "b=2"))
        .insert_header(("location", "/notes/6"))
        .reason("Noted")
        .force_close()
        .body("made");
    response.headers_mut().append(header::SET_COOKIE, header::HeaderValue::from_static("c=3"));
    Ok(response)
}

#[post("/bare")]
#[audited(capture_only)]
async fn bare(_conn: &mut PgConnection) -> Result<HttpResponse, AppError> {
    Ok(HttpResponse::NoContent().finish())
}

#[test]
fn response_keeps_status_headers_and_body_exactly() {
    let host = Host::new();
    let [made, empty] = host.answers(routes, [("/response", ""), ("/bare", "")]);
    assert_eq!(made.told(), (201, "made"));
    assert_eq!(made.header("content-type"), ["text/x-own; charset=ascii"]);
    assert_eq!(made.header("set-cookie"), ["a=1", "b=2", "c=3"]);
    assert_eq!(made.header("location"), ["/notes/6"]);
    assert_eq!(made.reason, "Noted");
    assert!(!made.keep_alive);
    assert_eq!(empty.told(), (204, ""));
    let names: Vec<&str> = empty.headers.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["x-request-id"], "none is guessed, not even a content type");
}

#[post("/streaming")]
#[audited(action = "note.streamed")]
async fn streaming(conn: &mut PgConnection) -> AppResult<HttpResponse> {
    insert(conn, 7, "streaming")?;
    let part = futures_util::stream::iter([Ok::<_, threadline_actix::Error>(Bytes::from_static(b"part"))]);
    Ok(HttpResponse::Ok().body(BodyStream::new(part)))
}

#[test]
fn stream_is_refused_and_rolled_back() {
    let host = Host::new();
    let reply = host.answer(routes, "/streaming");
    assert_eq!(
        reply.told(),
        (
            500,
            "an audited handler answered with a stream, which would outlive its transaction; everything is rolled back"
        )
    );
    assert!(host.notes().is_empty());
    assert!(host.trail().is_empty());
}

#[post("/refused")]
#[audited(action = "note.refused")]
async fn refused(conn: &mut PgConnection) -> AppResult<(String, StatusCode)> {
    insert(conn, 8, "kept")?;
    Ok(("no".to_owned(), StatusCode::CONFLICT))
}

#[test]
fn ok_commits_whatever_its_status() {
    let host = Host::new();
    assert_eq!(host.answer(routes, "/refused").told(), (409, "no"));
    assert_eq!(host.notes(), ["8 kept"]);
    assert_eq!(host.trail(), ["7 note.refused ok 1"]);
}
