//! What is around every screen: where one is, where one can go, who one is.

use chrono_tz::Tz;
use threadline::Actor;

use super::access::{Capability, Permissions};
use super::assets::ASSETS;
use super::config::{Fonts, Place, SurfaceConfig};
use super::link::Link;
use super::preferences::{Preferences, Theme};
use super::pulse::Health;
use super::screen::{Group, Screen};

/// What the layout shows.
#[derive(Clone, Debug)]
pub(super) struct Shell {
    pub(super) title: String,
    pub(super) heading: String,
    /// What of the screen's kind the page is about, for the title of the window.
    pub(super) subject: Option<String>,
    /// Leads from the page to the mount.
    pub(super) root: String,
    pub(super) screen: Screen,
    pub(super) groups: Vec<NavGroup>,
    pub(super) viewer: String,
    pub(super) scope: Option<String>,
    /// What exports are limited to, in the host's words.
    pub(super) export_scope: Option<String>,
    pub(super) theme: Theme,
    pub(super) zone: String,
    pub(super) own_fonts: bool,
    /// How capture is, for who may know.
    pub(super) health: Option<Pill>,
    /// After how many seconds the page asks for itself again.
    pub(super) refresh: Option<u32>,
    /// The page as it was asked for, below the mount: where a choice of theme leads back to.
    pub(super) here: String,
    /// The way back to the application.
    pub(super) host: Option<Place>,
}

#[derive(Clone, Debug)]
pub(super) struct NavGroup {
    pub(super) label: &'static str,
    pub(super) items: Vec<NavItem>,
}

#[derive(Clone, Debug)]
pub(super) struct NavItem {
    pub(super) label: &'static str,
    pub(super) href: String,
    pub(super) current: bool,
}

/// The health of capture, in the header.
#[derive(Clone, Debug)]
pub(super) struct Pill {
    /// The class of the style sheet: `good`, `warning`, `bad` or `unknown`.
    pub(super) class: &'static str,
    pub(super) words: String,
    pub(super) title: String,
    pub(super) stale: bool,
    pub(super) href: String,
}

impl Pill {
    fn new(health: Option<Health>, zone: Tz, href: String) -> Self {
        let Some(health) = health else {
            let title = "The health of capture has not been told yet".to_owned();
            return Self { class: "unknown", words: "Health unknown".to_owned(), title, stale: false, href };
        };
        let (class, words) = health.verdict();
        let seen = health.seen_at.with_timezone(&zone).format("%H:%M:%S");
        let since = if health.stale { "; it could not be looked at since" } else { "" };
        let title = format!("{}, as of {seen}{since}", health.counts());
        Self { class, words, title, stale: health.stale, href }
    }
}

impl Shell {
    #[expect(clippy::too_many_arguments, reason = "it is what a visit has, handed over once")]
    pub(super) fn new(
        config: &SurfaceConfig,
        permissions: &Permissions,
        actor: Option<&Actor>,
        preferences: Preferences,
        screen: Screen,
        root: &str,
        here: &str,
        health: Option<Health>,
    ) -> Self {
        let groups = Group::ALL.into_iter().filter_map(|group| {
            let items: Vec<NavItem> = group
                .screens()
                .iter()
                .filter(|screen| permissions.has(screen.capability()))
                .map(|&item| NavItem {
                    label: item.label(),
                    href: Link::to(item.route().trim_start_matches('/')).from(root),
                    current: item == screen,
                })
                .collect();
            (!items.is_empty()).then_some(NavGroup { label: group.label(), items })
        });
        Self {
            title: config.title.to_string(),
            heading: screen.label().to_owned(),
            subject: None,
            root: root.to_owned(),
            screen,
            groups: groups.collect(),
            viewer: actor.map_or_else(|| "nobody named".to_owned(), ToString::to_string),
            scope: permissions.access.words().map(str::to_owned),
            export_scope: permissions.export.words().map(str::to_owned),
            theme: preferences.theme,
            zone: preferences.zone.name().to_owned(),
            own_fonts: config.fonts == Fonts::Own,
            health: permissions
                .has(Capability::Coverage)
                .then(|| Pill::new(health, preferences.zone, Link::to("coverage").from(root))),
            refresh: screen.refreshes_after(),
            here: here.to_owned(),
            host: config.home.clone(),
        }
    }

    /// The same for a page about one thing, under the name by which the page shows it.
    pub(super) fn about(self, subject: &str) -> Self {
        // What is at the beginning has to do; a window has no room for more.
        const MOST: usize = 80;
        let end = subject.char_indices().nth(MOST).map(|(at, _)| at);
        let subject = end.map_or(subject.to_owned(), |end| format!("{}…", &subject[..end]));
        Self { subject: Some(subject), ..self }
    }

    pub(super) fn asset(&self, path: &str) -> String {
        format!("{}{path}", self.root)
    }

    pub(super) fn css(&self) -> String {
        self.asset(&ASSETS.css)
    }

    pub(super) fn fonts(&self) -> String {
        self.asset(&ASSETS.fonts)
    }

    pub(super) fn text_font(&self) -> String {
        self.asset(&ASSETS.text_font)
    }

    pub(super) fn js(&self) -> String {
        self.asset(&ASSETS.js)
    }

    pub(super) fn mark(&self) -> String {
        self.asset(&ASSETS.mark)
    }

    pub(super) fn themes(&self) -> [Theme; 3] {
        Theme::ALL
    }

    /// The city whose clock is shown.
    pub(super) fn clock(&self) -> String {
        self.zone.rsplit('/').next().unwrap_or_default().replace('_', " ")
    }

    pub(super) fn is_home(&self) -> bool {
        self.screen == Screen::Home
    }
}
