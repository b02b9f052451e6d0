//! Instants as people read them: on the clock of their time zone, with how long ago that was.

use std::collections::BTreeMap;

use chrono::{
    DateTime, Datelike, LocalResult, NaiveDate, NaiveDateTime, SecondsFormat, TimeDelta, TimeZone, Utc,
};
use chrono_tz::Tz;

/// An instant on a page.
#[derive(Clone, Debug)]
pub(super) struct Moment {
    /// `2026-11-21 10:32:05`, on the reader's clock.
    pub(super) shown: String,
    /// The same with microseconds and zone, for a title.
    pub(super) exact: String,
    /// RFC 3339 in UTC, for machines.
    pub(super) machine: String,
    /// `3 minutes ago`.
    pub(super) relative: String,
}

/// Makes those that read alike differ, as far as they do: by milliseconds, and where these are alike too by microseconds.
pub(super) fn tell_apart<'a>(moments: impl IntoIterator<Item = &'a mut Moment>) {
    let mut moments: Vec<&mut Moment> = moments.into_iter().collect();
    for length in ["2026-11-21 10:32:05.120".len(), "2026-11-21 10:32:05.120456".len()] {
        let mut times = BTreeMap::new();
        for moment in &moments {
            *times.entry(moment.shown.clone()).or_insert(0) += 1;
        }
        for moment in moments.iter_mut().filter(|moment| times.get(&moment.shown).is_some_and(|&n| n > 1)) {
            if let Some(finer) = moment.exact.get(..length) {
                moment.shown = finer.to_owned();
            }
        }
    }
}

/// A stored instant, as PostgreSQL writes a `timestamptz` into JSON, on the clock of `zone`, which is said; `None` for any other
/// text.
pub(super) fn stored(text: &str, zone: Tz) -> Option<String> {
    const SHORTEST: usize = "2026-11-21T10:32:05+00:00".len();
    const LONGEST: usize = "2026-11-21T10:32:05.123456+00:00".len();
    let is_so_written = (SHORTEST..=LONGEST).contains(&text.len())
        && text.is_ascii()
        && text.as_bytes()[10] == b'T'
        && text[19..].contains(['+', '-']);
    let at = DateTime::parse_from_rfc3339(text).ok().filter(|_| is_so_written)?.with_timezone(&zone);
    let clock = at.format("%Y-%m-%d %H:%M:%S%.f");
    Some(if zone == Tz::UTC { format!("{clock} UTC") } else { format!("{clock} {}", at.format("%:z")) })
}

/// The same to the second.
pub(super) fn to_the_second(stored: &str) -> String {
    let Some((clock, rest)) = stored.split_once('.') else {
        return stored.to_owned();
    };
    rest.split_once(' ').map_or_else(|| clock.to_owned(), |(_, zone)| format!("{clock} {zone}"))
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

/// The same of a time that is written without an offset, which another zone would read otherwise; `None` for any other text.
pub(super) fn written_locally(text: &str, zone: Tz) -> Option<DateTime<Utc>> {
    let is_local = DateTime::parse_from_rfc3339(text.trim()).is_err();
    if is_local { written(text, zone).ok() } else { None }
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

#[cfg(test)]
mod tests {
    use chrono::{DateTime, Utc};
    use chrono_tz::Tz;

    use super::{Moment, stored, tell_apart, to_the_second};

    #[test]
    fn those_that_read_alike_get_the_digits_they_need_and_no_others() {
        let of = |text: &str| {
            let at: DateTime<Utc> = text.parse().unwrap();
            Moment::new(at, Tz::UTC, at)
        };
        let mut moments = [
            of("2026-11-22T02:40:00.001400Z"),
            of("2026-11-22T02:40:00.001900Z"),
            of("2026-11-22T02:40:00.5Z"),
            of("2026-11-22T02:40:01Z"),
        ];
        tell_apart(&mut moments);
        let times = moments.each_ref().map(Moment::time);
        assert_eq!(times, ["02:40:00.001400", "02:40:00.001900", "02:40:00.500", "02:40:01"]);
    }

    #[test]
    fn only_what_is_written_as_postgresql_writes_it_is_an_instant() {
        let berlin = Tz::Europe__Berlin;
        let on = |text, zone| stored(text, zone).unwrap_or_default();
        assert_eq!(on("2026-11-11T20:05:00+00:00", berlin), "2026-11-11 21:05:00 +01:00");
        assert_eq!(on("2026-07-11T20:05:00.25+00:00", berlin), "2026-07-11 22:05:00.250 +02:00");
        assert_eq!(on("2026-11-11T20:05:00+02:00", Tz::UTC), "2026-11-11 18:05:00 UTC");
        for other in
            ["2026-11-11T20:05:00", "2026-11-11T20:05:00Z", "2026-11-11 20:05:00+00:00", "infinity", ""]
        {
            assert_eq!(stored(other, berlin), None, "{other}");
        }
        assert_eq!(to_the_second("2026-07-11 22:05:00.250 +02:00"), "2026-07-11 22:05:00 +02:00");
        assert_eq!(to_the_second("2026-07-11 22:05:00 UTC"), "2026-07-11 22:05:00 UTC");
    }
}
