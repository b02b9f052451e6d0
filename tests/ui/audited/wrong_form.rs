//! An option that is written otherwise than it takes.

use actix_web::{App, post};
use diesel::PgConnection;
use threadline_actix::{Error, audited};

#[post("/")]
#[audited(capture_only = true)]
async fn flag_with_value(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(action = "post.created", require_changes(true))]
async fn flag_with_list(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(action)]
async fn text_without_value(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(action =)]
async fn equals_alone(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(action("post.created"))]
async fn text_in_parentheses(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited("post.created")]
async fn text_alone(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(action = 7)]
async fn number(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(action = "post.created" require_changes)]
async fn no_comma(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

#[post("/")]
#[audited(action: "post.created")]
async fn colon(conn: &mut PgConnection) -> Result<&'static str, Error> {
    Ok("")
}

fn main() {
    App::new().service(flag_with_value).service(flag_with_list).service(text_without_value).service(equals_alone).service(text_in_parentheses).service(text_alone).service(number).service(no_comma).service(colon);
}
