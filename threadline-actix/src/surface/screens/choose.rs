//! Choosing how the pages look and whose clock they show.

use actix_web::http::header::{CACHE_CONTROL, LOCATION};
use actix_web::{HttpRequest, HttpResponse, web};

use crate::surface::config::SurfaceConfig;
use crate::surface::preferences::{Preferences, Theme, zone_named};
use crate::surface::query::Query;

/// Keeps a choice in the browser, and leads back to the page it was made on. Open to everybody: it shows nothing.
pub(in crate::surface) async fn choose(
    config: web::Data<SurfaceConfig>,
    request: HttpRequest,
    form: String,
) -> HttpResponse {
    let mut form = Query::parse(&form);
    let Preferences { mut theme, mut zone } = Preferences::of(&request, config.theme);
    if let Ok(Some(name)) = form.take("theme") {
        match Theme::named(&name) {
            Some(chosen) => theme = chosen,
            None => return unknown("theme: is not one of system, dark, light\n"),
        }
    }
    if let Ok(Some(name)) = form.take("zone") {
        match zone_named(&name) {
            Some(chosen) => zone = chosen,
            None => return unknown("zone: is not a time zone such as UTC or Europe/Berlin\n"),
        }
    }
    let back = form.take("back").ok().flatten().filter(|back| is_below(back)).unwrap_or_default();
    let mut response = HttpResponse::SeeOther();
    response.insert_header((LOCATION, format!("./{back}"))).insert_header((CACHE_CONTROL, "no-store"));
    for cookie in (Preferences { theme, zone }).cookies() {
        response.cookie(cookie);
    }
    response.finish()
}

/// Whether a path stays below the mount, whatever a browser makes of it.
pub(super) fn is_below(path: &str) -> bool {
    let (path, _) = path.split_once('?').unwrap_or((path, ""));
    !path.starts_with('/')
        && path.split('/').all(|segment| segment != ".." && segment != ".")
        && path.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_/.%".contains(&byte))
        && !path.contains("//")
        && !path.to_ascii_lowercase().contains("%2e")
}

fn unknown(text: &'static str) -> HttpResponse {
    HttpResponse::BadRequest().content_type("text/plain; charset=utf-8").body(text)
}
