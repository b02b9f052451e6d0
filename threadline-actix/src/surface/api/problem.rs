//! What went wrong, told to programs: RFC 9457. Constant words; the cause is in the log.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;

use crate::surface::failure::Failure;
use crate::surface::screen::Screen;

pub(super) const MEDIA_TYPE: &str = "application/problem+json";

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    /// Tells problems of one status apart.
    code: &'static str,
    detail: &'a str,
    /// The command that answers the same, to who has access to the database.
    #[serde(skip_serializing_if = "Option::is_none")]
    command: Option<&'static str>,
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
pub(super) fn of(failure: &Failure, screen: Screen) -> HttpResponse {
    let (happened, means, next) = failure.words();
    let detail: Vec<&str> = [happened, means, next].into_iter().filter(|words| !words.is_empty()).collect();
    let detail = detail.join(" ");
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
    let problem =
        Problem { command: failure.command(screen), errors, ..Problem::new(failure.status(), code, &detail) };
    problem.answer()
}

/// The answer to who is not let in: the same for everything there is and is not.
pub(super) fn refusal() -> HttpResponse {
    let detail = "You are not let in here. Sign in, or ask who runs this application.";
    Problem::new(StatusCode::FORBIDDEN, "not_let_in", detail).answer()
}

/// The answer to what would change something.
pub(super) fn not_allowed() -> HttpResponse {
    let detail = "This API only reads. Ask with GET or HEAD.";
    let mut answer = Problem::new(StatusCode::METHOD_NOT_ALLOWED, "only_reads", detail).answer();
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
    answer
}

impl<'a> Problem<'a> {
    fn new(status: StatusCode, code: &'static str, detail: &'a str) -> Self {
        Self {
            r#type: "about:blank",
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            code,
            detail,
            command: None,
            errors: Vec::new(),
        }
    }

    fn answer(&self) -> HttpResponse {
        let json = serde_json::to_string(self).expect("it is made of texts and a number");
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        HttpResponse::build(status)
            .insert_header((CONTENT_TYPE, MEDIA_TYPE))
            .insert_header((CACHE_CONTROL, "no-store"))
            .body(json)
    }
}
