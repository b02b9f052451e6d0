//! How a reader wants the pages: their theme and the time zone of their clock, kept in cookies of the browser.

use actix_web::HttpRequest;
use actix_web::cookie::{Cookie, SameSite, time::Duration};
use chrono_tz::Tz;

const THEME: &str = "threadline_theme";
const ZONE: &str = "threadline_zone";

/// How pages look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Theme {
    /// As the reader's system does.
    #[default]
    System,
    /// Light text on dark ground.
    Dark,
    /// Dark text on light ground.
    Light,
}

impl Theme {
    pub(super) const ALL: [Self; 3] = [Self::System, Self::Dark, Self::Light];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::Dark => "dark",
            Self::Light => "light",
        }
    }

    pub(super) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|theme| theme.name() == name)
    }
}

/// What a reader has chosen, or else what the host has.
#[derive(Clone, Copy, Debug)]
pub(super) struct Preferences {
    pub(super) theme: Theme,
    pub(super) zone: Tz,
}

impl Preferences {
    pub(super) fn of(request: &HttpRequest, theme: Theme) -> Self {
        let chosen = |name| request.cookie(name);
        Self {
            theme: chosen(THEME).and_then(|cookie| Theme::named(cookie.value())).unwrap_or(theme),
            zone: chosen(ZONE).and_then(|cookie| zone_named(cookie.value())).unwrap_or(Tz::UTC),
        }
    }

    /// The cookies that keep them. Their path is where they are set, which is the mount, under whatever prefix a proxy gives it.
    pub(super) fn cookies(self) -> [Cookie<'static>; 2] {
        [(THEME, self.theme.name().to_owned()), (ZONE, self.zone.name().replace('/', "~"))].map(
            |(name, value)| {
                Cookie::build(name, value)
                    .http_only(true)
                    .same_site(SameSite::Lax)
                    .max_age(Duration::days(365))
                    .finish()
            },
        )
    }
}

/// The time zone of a name; a cookie has no `/` in it.
pub(super) fn zone_named(name: &str) -> Option<Tz> {
    name.replace('~', "/").parse().ok()
}
