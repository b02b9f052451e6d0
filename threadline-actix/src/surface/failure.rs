//! What went wrong, told to people: what happened, what it means, and what to do next.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, ContentType};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use threadline::Error;

use super::assets::ASSETS;
use super::config::{Fonts, Place, SurfaceConfig};
use super::query::Problem;
use super::screen::Screen;
use super::screens;
use super::shell::Shell;
use super::value::shown;
use super::visit::Visit;

/// Why there is no screen to show.
#[derive(Debug)]
pub(super) enum Failure {
    /// There is none, or none that may be seen: both look the same.
    NotFound,
    /// The URL or the form asks for what cannot be asked.
    Invalid(Vec<Problem>),
    /// The part of the surface is not open to who asks.
    Denied(Screen),
    /// The database took too long.
    TooLong,
    /// The database cannot be reached, or has no connection to spare.
    Unreachable,
    /// The database has no audit schema of this version.
    Schema,
    /// Anything else; the log knows.
    Internal,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let cause = error.kind();
        match error {
            Error::TookTooLong { .. } => {
                tracing::warn!(cause, "threadline: a page took too long");
                Self::TooLong
            }
            Error::NoConnection(_) | Error::ConnectionLost(_) => {
                tracing::error!(cause, "threadline: a page had no database");
                Self::Unreachable
            }
            Error::SchemaMissing | Error::SchemaVersion { .. } => {
                tracing::error!(cause, "threadline: {error}");
                Self::Schema
            }
            Error::InvalidFilter(invalid) => Self::named(invalid.problems()),
            Error::InvalidEvidence(invalid) => Self::named(invalid.problems()),
            Error::InvalidExportRequest(invalid) => Self::named(invalid.problems()),
            Error::InvalidView(invalid) => Self::named(invalid.problems()),
            Error::NotAudited { table, renamed_to, nearest } => {
                // As the pages name tables: `public` goes without saying.
                let named = |name: &str| shown(name.strip_prefix("public.").unwrap_or(name));
                let text = match (renamed_to, nearest) {
                    (Some(name), _) => format!("was renamed to `{}`; ask for it by that name", named(&name)),
                    (None, Some(near)) => format!("is not in the trail; did you mean `{}`?", named(&near)),
                    (None, None) => format!("is not in the trail; {}", screens::CHOOSE),
                };
                Self::Invalid(vec![Problem::of_value("table", &table, text)])
            }
            Error::InvalidPage { problem } => Self::Invalid(vec![Problem::new("after", problem)]),
            Error::Refused { message, hint } => {
                let message = match message.strip_prefix("not ") {
                    Some(rest) => format!("is not {rest}"),
                    None => format!("does not fit: {message}"),
                };
                let text = hint.map_or(message.clone(), |hint| format!("{message}; {hint}"));
                Self::Invalid(vec![Problem::new("key", text)])
            }
            _ => {
                tracing::error!(cause, "threadline: a page failed");
                Self::Internal
            }
        }
    }
}

impl Failure {
    /// Everything that is wrong with something, each with the name of its field before it.
    fn named(problems: &[String]) -> Self {
        Self::Invalid(problems.iter().map(|problem| Problem::named(problem)).collect())
    }
}

impl From<Problem> for Failure {
    fn from(problem: Problem) -> Self {
        Self::Invalid(vec![problem])
    }
}

#[derive(Template)]
#[template(path = "surface/failure.html")]
struct FailurePage<'a> {
    shell: Shell,
    happened: &'static str,
    means: &'static str,
    next: &'static str,
    problems: &'a [Problem],
    command: Option<String>,
}

impl Failure {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Invalid(_) => StatusCode::BAD_REQUEST,
            Self::Denied(_) => StatusCode::FORBIDDEN,
            Self::TooLong | Self::Unreachable | Self::Schema => StatusCode::SERVICE_UNAVAILABLE,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What happened, what it means, and what to do next.
    pub(super) fn words(&self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NotFound => (
                "There is nothing here to see.",
                "It was never recorded, retention has removed it, or it is not yours to see. These look the same on purpose.",
                "Check the address, or look for it in the timeline.",
            ),
            Self::Invalid(_) => (
                "That cannot be asked.",
                "Nothing was searched, because a part of the question is not understood.",
                "Mend what is named here and ask again.",
            ),
            Self::Denied(screen) => (
                screen.denial(),
                "This application has not opened that part of the surface to you.",
                "Ask who runs it. With access to the database, the command below answers the same question.",
            ),
            Self::TooLong => (
                "This is taking too long.",
                "The database was stopped before it had found everything; nothing is wrong with the trail.",
                "Ask for less: a shorter time, one table, one row or one actor.",
            ),
            Self::Unreachable => (
                "The database does not answer.",
                "It cannot be reached, or all its connections are busy. What is being captured is captured all the same.",
                "Try again in a moment. If it stays like this, check the database and the size of the pool.",
            ),
            Self::Schema => (
                "The trail is not installed.",
                "The database has no audit schema of the version this application was built with.",
                "Have its migrations run, and open the page again.",
            ),
            Self::Internal => (
                "This page failed.",
                "The cause is in the application's log, and only there.",
                "Try again, and tell who runs the application if it fails again.",
            ),
        }
    }

    /// The command that goes on where the screen cannot.
    pub(super) fn command(&self, screen: Screen) -> Option<&'static str> {
        match self {
            Self::Denied(screen) => Some(screen.command()),
            Self::TooLong => Some(screen.command()),
            Self::Schema => Some("threadline migrate"),
            _ => None,
        }
    }

    /// As a page, inside the frame of the visit.
    pub(super) fn page(&self, visit: &Visit) -> HttpResponse {
        let (happened, means, next) = self.words();
        let command = match self {
            Self::Denied(Screen::Exports) => Some(screens::export_command(visit)),
            _ => self.command(visit.screen()).map(str::to_owned),
        };
        let problems = match self {
            Self::Invalid(problems) => &problems[..],
            _ => &[],
        };
        let page = FailurePage { shell: visit.shell(), happened, means, next, problems, command };
        visit.page_with(self.status(), &page).unwrap_or_else(|_| HttpResponse::InternalServerError().finish())
    }
}

#[derive(Template)]
#[template(path = "surface/refused.html")]
struct RefusedPage<'a> {
    title: &'a str,
    theme: &'static str,
    css: &'a str,
    fonts: Option<&'a str>,
    mark: &'a str,
    login: Option<String>,
    home: Option<&'a Place>,
}

/// The answer to who is not let in: the same for everything there is and is not, but for the way back from the host's login,
/// where the host wants that, which says nothing but what was asked. What it loads is found beside every address.
pub(super) fn refusal(config: &SurfaceConfig, request: &HttpRequest) -> HttpResponse {
    let page = RefusedPage {
        title: &config.title,
        theme: config.theme.name(),
        css: &ASSETS.css,
        fonts: (config.fonts == Fonts::Own).then_some(&*ASSETS.fonts),
        mark: &ASSETS.mark,
        login: config.login.as_ref().map(|login| login.href(request)),
        home: config.home.as_ref(),
    };
    let mut answer = HttpResponse::Forbidden();
    answer.insert_header((CACHE_CONTROL, "no-store"));
    match page.render() {
        Ok(html) => answer.content_type(ContentType::html()).body(html),
        Err(_) => answer.finish(),
    }
}
