//! Instants as people read them: on the clock of their time zone, with how long ago that was.

use chrono::{
    DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;

/// An instant on a page.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// `2026-11-21 10:32:05.120`, on the reader's clock.
    pub(super) shown: String,
    /// The same with microseconds and zone, for a title.
    pub(super) exact: String,
    /// RFC 3339 in UTC, for machines.
    pub(super) machine: String,
    /// `3 minutes ago`.
    pub(super) relative: String,
}

impl Moment {
    pub(super) fn new(at: DateTime<Utc>, zone: Tz, now: DateTime<Utc>) -> Self {
        let local = at.with_timezone(&zone);
        Self {
            shown: local.format("%Y-%m-%d %H:%M:%S").to_string(),
            exact: local.format("%Y-%m-%d %H:%M:%S%.6f %Z").to_string(),
            machine: at.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            relative: relative(now - at),
        }
    }

    /// The day alone.
    pub(super) fn day(&self) -> &str {
        self.shown.get(..10).unwrap_or(&self.shown)
    }

    /// The time of day alone.
    pub(super) fn time(&self) -> &str {
        self.shown.get(11..).unwrap_or(&self.shown)
    }
}

fn relative(ago: TimeDelta) -> String {
    let (ago, ahead) = if ago < TimeDelta::zero() { (-ago, true) } else { (ago, false) };
    // What is kept for seven days is not gone in six a moment later.
    let ago = if ahead { ago + ago / 100 } else { ago };
    let (count, unit) = match ago.num_seconds() {
        0..5 => return "just now".to_owned(),
        seconds @ 5..60 => (seconds, "second"),
        60..3_600 => (ago.num_minutes(), "minute"),
        3_600..86_400 => (ago.num_hours(), "hour"),
        86_400..5_184_000 => (ago.num_days(), "day"),
        5_184_000..63_072_000 => (ago.num_days() / 30, "month"),
        _ => (ago.num_days() / 365, "year"),
    };
    let s = if count == 1 { "" } else { "s" };
    if ahead { format!("in {count} {unit}{s}") } else { format!("{count} {unit}{s} ago") }
}

const WANTED: &str = "is not a time such as 2026-11-21T09:30, 2026-11-21 or 2026-11-21T09:30:00Z";

/// The instant a reader has written: with an offset as it is, without one on the clock of `zone`. A day stands for its
/// beginning.
pub(super) fn written(text: &str, zone: Tz) -> Result<DateTime<Utc>, &'static str> {
    let instant = read(text.trim(), zone)?;
    // Beyond, the database has no such time.
    if (1..=9_999).contains(&instant.year()) { Ok(instant) } else { Err(WANTED) }
}

fn read(text: &str, zone: Tz) -> Result<DateTime<Utc>, &'static str> {
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Ok(instant.to_utc());
    }
    let local = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S%.f", "%Y-%m-%d %H:%M", "%Y-%m-%d %H:%M:%S%.f"]
        .into_iter()
        .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
        .or_else(|| NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?.and_hms_opt(0, 0, 0))
        .ok_or(WANTED)?;
    match zone.from_local_datetime(&local) {
        LocalResult::Single(instant) | LocalResult::Ambiguous(instant, _) => Ok(instant.to_utc()),
        LocalResult::None => Err("is a time that the clocks left out that day; write it with an offset"),
    }
}

/// The instant as a field for a date and a time takes it, on the clock of `zone`.
pub(super) fn for_field(at: DateTime<Utc>, zone: Tz) -> String {
    at.with_timezone(&zone).format("%Y-%m-%dT%H:%M:%S").to_string()
}
