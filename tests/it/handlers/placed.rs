//! Wherever the attribute stands, and however actix is told of the handler.

use super::*;

/// A doc comment stays where it is.
#[post("/above")]
#[audited(action = "note.above")]
async fn above(conn: &mut PgConnection) -> AppResult<&'static str> {
    insert(conn, 1, "above")?;
    Ok("above")
}

#[audited(action = "note.below")]
#[post("/below")]
/// Here, too.
async fn below(conn: &mut PgConnection) -> AppResult<&'static str> {
    insert(conn, 2, "below")?;
    Ok("below")
}

#[audited(action = "note.plain")]
pub(super) async fn plain(conn: &mut PgConnection) -> AppResult<&'static str> {
    #![expect(unused_variables, reason = "an attribute inside of the body")]
    let unused = 7;
    insert(conn, 3, "plain")?;
    Ok("plain")
}

/// A body of one expression on one line, in a crate that denies warnings: rustc looks for unneeded braces only there.
#[deny(warnings)]
#[rustfmt::skip]
#[audited(action = "note.short")]
async fn short(conn: &mut PgConnection) -> AppResult<&'static str> { Ok(insert(conn, 4, "short").map(|_| "short")?) }

// The route's attribute makes a unit struct of the name, and a pattern of that name would match it.
#[post("/transaction")]
#[audited(action = "note.named")]
async fn transaction(_: &mut PgConnection) -> AppResult<&'static str> {
    Ok("named")
}

#[post("/connection")]
#[audited(action = "note.named")]
async fn connection(_: &mut PgConnection) -> AppResult<&'static str> {
    Ok("named")
}

#[post("/action")]
#[audited(action = "note.named")]
async fn action(_: &mut PgConnection) -> AppResult<&'static str> {
    Ok("named")
}

#[post("/request")]
#[audited(action = "note.named")]
async fn request(_: &mut PgConnection) -> AppResult<&'static str> {
    Ok("named")
}

pub(super) trait Text: 'static {
    const TEXT: &'static str;
}

pub(super) struct Fixed;

impl Text for Fixed {
    const TEXT: &'static str = "fixed";
}

#[audited(action = format!("note.{}", T::TEXT))]
async fn generic<T>(conn: &mut PgConnection) -> AppResult<&'static str>
where
    T: Text,
{
    insert(conn, 4, T::TEXT)?;
    Ok(T::TEXT)
}

fn routes(config: &mut ServiceConfig) {
    config
        .service(above)
        .service(transaction)
        .service(connection)
        .service(action)
        .service(request)
        .service(web::scope("/outer").service(web::scope("/inner").service(below)))
        .route("/plain", web::post().to(plain))
        .route("/short", web::post().to(short))
        .service(
            web::scope("/staff")
                .wrap(AuditMiddleware::new(async |_: &ServiceRequest| Ok(Some(Actor::admin(9)))))
                .route("/plain", web::post().to(plain)),
        )
        .service(web::resource("/generic").route(web::post().to(generic::<Fixed>)));
}

#[test]
fn one_handler_serves_several_scopes_and_the_innermost_middleware_names_the_actor() {
    let host = Host::new();
    let [ours] = host.answers(routes, [("/plain", "")]);
    run(&mut host.db.connect(), "DELETE FROM notes");
    let [theirs] = host.answers(routes, [("/staff/plain", "")]);
    assert_eq!((ours.told(), theirs.told()), ((200, "plain"), (200, "plain")));
    assert_eq!(host.trail(), ["7 note.plain ok 1", "nobody - 1", "9 note.plain ok 1"]);
}

#[test]
fn body_of_one_expression_draws_no_warning() {
    let host = Host::new();
    let [short] = host.answers(routes, [("/short", "")]);
    assert_eq!(short.told(), (200, "short"));
    assert_eq!(host.notes(), ["4 short"]);
}

#[test]
fn handler_may_have_any_name() {
    let host = Host::new();
    let paths = ["/transaction", "/connection", "/action", "/request"];
    let replies = host.answers(routes, paths.map(|path| (path, "")));
    assert_eq!(replies.each_ref().map(Reply::told), [(200, "named"); 4]);
    assert_eq!(host.trail(), ["7 note.named ok 0"; 4]);
}

#[test]
fn handler_is_routed_to_in_every_way_actix_knows() {
    let host = Host::new();
    let paths = ["/above", "/outer/inner/below", "/plain", "/generic"];
    let replies = host.answers(routes, paths.map(|path| (path, "")));
    let told = replies.each_ref().map(Reply::told);
    assert_eq!(told, [(200, "above"), (200, "below"), (200, "plain"), (200, "fixed")]);
    assert_eq!(host.notes(), ["1 above", "2 below", "3 plain", "4 fixed"]);
    let actions = ["7 note.above ok 1", "7 note.below ok 1", "7 note.plain ok 1", "7 note.fixed ok 1"];
    assert_eq!(host.trail(), actions);
}
