//! What went wrong, told to programs: RFC 9457. Constant words; the cause is in the log.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE};
use serde::Serialize;

use crate::surface::failure::Failure;

pub(super) const MEDIA_TYPE: &str = "application/problem+json";

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    /// Tells problems of one status apart.
    code: &'static str,
    detail: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<Wrong<'a>>,
}

/// What is wrong with one part of the question.
#[derive(Serialize)]
struct Wrong<'a> {
    field: &'a str,
    problem: &'a str,
}

/// The answer to who was let in, and cannot be given what was asked for.
pub(super) fn of(failure: &Failure) -> HttpResponse {
    let (happened, means, next) = failure.words();
    let detail = [happened, means, next].into_iter().filter(|words| !words.is_empty());
    let errors = match failure {
        Failure::Invalid(problems) => {
            problems.iter().map(|wrong| Wrong { field: &wrong.field, problem: &wrong.text }).collect()
        }
        _ => Vec::new(),
    };
    let code = match failure {
        Failure::NotFound => "not_found",
        Failure::Invalid(_) => "invalid",
        Failure::Denied(_) => "denied",
        Failure::TooLong => "took_too_long",
        Failure::Unreachable => "unreachable",
        Failure::Schema => "not_installed",
        Failure::Internal => "failed",
    };
    answer(failure.status(), code, &detail.collect::<Vec<_>>().join(" "), errors)
}

/// The answer to who is not let in: the same for everything there is and is not.
pub(super) fn refusal() -> HttpResponse {
    let detail = "You are not let in here. Sign in, or ask who runs this application.";
    answer(StatusCode::FORBIDDEN, "not_let_in", detail, Vec::new())
}

/// The answer to what would change something.
pub(super) fn not_allowed() -> HttpResponse {
    let detail = "This API only reads. Ask with GET or HEAD.";
    let mut answer = answer(StatusCode::METHOD_NOT_ALLOWED, "only_reads", detail, Vec::new());
    answer.headers_mut().insert(ALLOW, actix_web::http::header::HeaderValue::from_static("GET, HEAD"));
    answer
}

fn answer(status: StatusCode, code: &'static str, detail: &str, errors: Vec<Wrong<'_>>) -> HttpResponse {
    let title = status.canonical_reason().unwrap_or("Problem");
    let problem = Problem { r#type: "about:blank", title, status: status.as_u16(), code, detail, errors };
    HttpResponse::build(status)
        .insert_header((CONTENT_TYPE, MEDIA_TYPE))
        .insert_header((CACHE_CONTROL, "no-store"))
        .body(serde_json::to_string(&problem).expect("it is made of texts and a number"))
}
