//! The time a list is about: a while up to now, all of it, or from one instant to another.

use chrono::{DateTime, TimeDelta, Utc};
use chrono_tz::Tz;
use threadline::Filter;

use super::link::Link;
use super::moment;
use super::query::{Problem, Query};
use super::visit::Visit;

/// The time a list is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Window {
    Last(Span),
    All,
    Exact { from: Option<DateTime<Utc>>, to: Option<DateTime<Utc>> },
}

/// A while up to now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    Hour,
    Day,
    Week,
    Month,
}

impl Span {
    fn length(self) -> TimeDelta {
        match self {
            Self::Hour => TimeDelta::hours(1),
            Self::Day => TimeDelta::hours(24),
            Self::Week => TimeDelta::days(7),
            Self::Month => TimeDelta::days(30),
        }
    }
}

impl Window {
    /// Those that are offered ready made.
    pub(super) const PRESETS: [Self; 5] = [
        Self::Last(Span::Hour),
        Self::Last(Span::Day),
        Self::Last(Span::Week),
        Self::Last(Span::Month),
        Self::All,
    ];

    /// Takes it out of a query; `from` and `to` win, and without any of them it is `or`.
    pub(super) fn take(query: &mut Query, zone: Tz, or: Self) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let mut part = |name| {
            query.take(name).unwrap_or_else(|problem| {
                problems.push(problem);
                None
            })
        };
        let (window, from, to) = (part("window"), part("from"), part("to"));
        let mut instant = |name, text: Option<String>| {
            text.and_then(|text| {
                moment::written(&text, zone)
                    .map_err(|wrong| problems.push(Problem::of_value(name, &text, wrong)))
                    .ok()
            })
        };
        let (from, to) = (instant("from", from), instant("to", to));
        if from.zip(to).is_some_and(|(from, to)| from > to) {
            problems.push(Problem::new("from", "is later than `to`; exchange the two"));
        }
        let named = window.map(|name| {
            Self::PRESETS
                .into_iter()
                .find(|preset| preset.name() == name)
                .ok_or_else(|| Problem::of_value("window", &name, "is not one of 1h, 24h, 7d, 30d, all"))
        });
        let named = named.transpose().unwrap_or_else(|problem| {
            problems.push(problem);
            None
        });
        if !problems.is_empty() {
            Err(problems)
        } else if from.or(to).is_some() {
            Ok(Self::Exact { from, to })
        } else {
            Ok(named.unwrap_or(or))
        }
    }

    /// Its name in a URL; those from one instant to another have none.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Last(Span::Hour) => "1h",
            Self::Last(Span::Day) => "24h",
            Self::Last(Span::Week) => "7d",
            Self::Last(Span::Month) => "30d",
            Self::All => "all",
            Self::Exact { .. } => "",
        }
    }

    /// As a button says it.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Last(Span::Hour) => "1 hour",
            Self::Last(Span::Day) => "24 hours",
            Self::Last(Span::Week) => "7 days",
            Self::Last(Span::Month) => "30 days",
            Self::All => "All time",
            Self::Exact { .. } => "Exact",
        }
    }

    /// As a sentence ends with it.
    pub(super) fn words(self, zone: Tz) -> String {
        let on_the_clock =
            |at: DateTime<Utc>| at.with_timezone(&zone).format("%Y-%m-%d %H:%M:%S").to_string();
        match self {
            Self::Last(Span::Hour) => "in the last hour".to_owned(),
            Self::Last(_) => format!("in the last {}", self.label()),
            Self::All => "in all the time there is".to_owned(),
            Self::Exact { from: Some(from), to: Some(to) } => {
                format!("from {} to {}", on_the_clock(from), on_the_clock(to))
            }
            Self::Exact { from: Some(from), to: None } => format!("since {}", on_the_clock(from)),
            Self::Exact { from: None, to: Some(to) } => format!("until {}", on_the_clock(to)),
            Self::Exact { from: None, to: None } => String::new(),
        }
    }

    /// The parts of a URL that say it.
    pub(super) fn pairs(self, or: Self) -> Vec<(&'static str, String)> {
        match self {
            window if window == or => Vec::new(),
            Self::Exact { from, to } => {
                let mut filter = Filter::new();
                if let Some(from) = from {
                    filter = filter.from(from);
                }
                if let Some(to) = to {
                    filter = filter.to(to);
                }
                filter.pairs()
            }
            window => vec![("window", window.name().to_owned())],
        }
    }

    /// The filter, within this time.
    pub(super) fn narrow(self, filter: Filter, now: DateTime<Utc>) -> Filter {
        match self {
            Self::Last(span) => filter.from(now - span.length()),
            Self::All => filter,
            Self::Exact { from, to } => {
                let filter = from.into_iter().fold(filter, Filter::from);
                to.into_iter().fold(filter, Filter::to)
            }
        }
    }

    /// Whether it begins after now.
    pub(super) fn is_ahead(self, now: DateTime<Utc>) -> bool {
        matches!(self, Self::Exact { from: Some(from), .. } if from > now)
    }

    /// The longer one to offer where this one is empty.
    pub(super) fn wider(self) -> Option<Self> {
        match self {
            Self::Last(Span::Hour) => Some(Self::Last(Span::Day)),
            Self::Last(Span::Day) => Some(Self::Last(Span::Week)),
            Self::Last(Span::Week) => Some(Self::Last(Span::Month)),
            Self::Last(Span::Month) | Self::Exact { .. } => Some(Self::All),
            Self::All => None,
        }
    }

    pub(super) fn bounds(self) -> (Option<DateTime<Utc>>, Option<DateTime<Utc>>) {
        match self {
            Self::Exact { from, to } => (from, to),
            _ => (None, None),
        }
    }
}

/// A time that is offered ready made.
pub(super) struct Preset {
    pub(super) label: &'static str,
    pub(super) href: String,
    pub(super) current: bool,
}

impl Preset {
    /// All of them, each leading to the same question about its time.
    pub(super) fn all(visit: &Visit, current: Window, link: impl Fn(Window) -> Link) -> Vec<Self> {
        let presets = Window::PRESETS.into_iter().map(|preset| Self {
            label: preset.label(),
            href: visit.href(&link(preset)),
            current: preset == current,
        });
        presets.collect()
    }
}
