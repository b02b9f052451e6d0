//! Choosing how the pages look and whose clock they show.

use actix_web::http::StatusCode;
use actix_web::http::header::{CACHE_CONTROL, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;

use crate::surface::config::SurfaceConfig;
use crate::surface::preferences::{Preferences, Theme, zone_named};
use crate::surface::query::{Problem, Query};
use crate::surface::screen::Screen;
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

#[derive(Template)]
#[template(path = "surface/preferences.html")]
struct PreferencesPage {
    shell: Shell,
    theme: Theme,
    /// As it was written.
    zone: String,
    problems: Vec<Problem>,
    /// The page it was chosen on, below the mount.
    back: String,
}

impl PreferencesPage {
    fn is_chosen(&self, theme: &Theme) -> bool {
        self.theme == *theme
    }

    fn problem(&self, name: &str) -> Option<&str> {
        self.problems.iter().find(|problem| problem.field == name).map(|problem| problem.text.as_str())
    }
}

/// Keeps a choice in the browser, and leads back to the page it was made on. Open to everybody: it shows nothing.
pub(in crate::surface) async fn choose(
    config: web::Data<SurfaceConfig>,
    request: HttpRequest,
    form: String,
) -> HttpResponse {
    let mut form = Query::parse(&form);
    let Preferences { mut theme, mut zone } = Preferences::of(&request, config.theme);
    let mut problems = Vec::new();
    if let Ok(Some(name)) = form.take("theme") {
        match Theme::named(&name) {
            Some(chosen) => theme = chosen,
            None => problems.push(Problem::new("theme", "is not one of system, dark, light")),
        }
    }
    let written = form.take("zone").ok().flatten();
    if let Some(name) = &written {
        match zone_named(name) {
            Some(chosen) => zone = chosen,
            None => problems.push(Problem::new("zone", "is not a time zone such as UTC or Europe/Berlin")),
        }
    }
    let back = form.take("back").ok().flatten().filter(|back| is_below(back)).unwrap_or_default();
    if !problems.is_empty() {
        // Only who is let in has a page it stands on.
        let visit = match Visit::begin(config, request, Screen::Home, 0).await {
            Ok(visit) => visit,
            Err(refusal) => return refusal,
        };
        let shell = Shell { heading: "Preferences".to_owned(), here: back.clone(), ..visit.shell() };
        let zone = written.map_or_else(|| zone.name().to_owned(), |written| shown(&written));
        let page = PreferencesPage { shell, theme, zone, problems, back };
        return visit
            .page_with(StatusCode::BAD_REQUEST, &page)
            .unwrap_or_else(|failure| failure.page(&visit));
    }
    let mut response = HttpResponse::SeeOther();
    response.insert_header((LOCATION, format!("./{back}"))).insert_header((CACHE_CONTROL, "no-store"));
    for cookie in (Preferences { theme, zone }).cookies() {
        response.cookie(cookie);
    }
    response.finish()
}

/// Whether a path stays below the mount, whatever a browser makes of it.
pub(super) fn is_below(path: &str) -> bool {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    query.bytes().all(|byte| byte.is_ascii_graphic())
        && !path.starts_with('/')
        && path.split('/').all(|segment| segment != ".." && segment != ".")
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/.%".contains(&byte))
        && !path.contains("//")
        && !path.to_ascii_lowercase().contains("%2e")
}
