//! Instants on the command line.

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, SubsecRound, TimeDelta, Utc};

/// Help for whoever gets one wrong; also in `guides/command-line.md`.
const FORMS: &str = "write `2026-11-21T09:30:00Z` or `2026-11-21 09:30:00+00` (any offset), `2026-11-21 09:30` or `2026-11-21` (both UTC), `2h` or `3days` (so \
                     long ago), or `now`";

/// An instant: RFC 3339, ISO 8601, or as PostgreSQL prints it; a date and time, or a date, which is its beginning, both in UTC; a duration, which is so long ago by
/// this machine's clock; or `now`.
pub(crate) fn parse(text: &str) -> Result<DateTime<Utc>, String> {
    at(text, Utc::now().trunc_subsecs(6)).ok_or_else(|| FORMS.to_owned())
}

fn at(text: &str, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    if text == "now" {
        return Some(now);
    }
    if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
        return Some(instant.to_utc());
    }
    // As PostgreSQL prints a `timestamptz`, with `+00` or `+05:30`, and as ISO 8601 has it without punctuation.
    let with_minutes = offset_with_minutes(text);
    for form in ["%Y-%m-%d %H:%M:%S%.f%z", "%Y-%m-%dT%H:%M:%S%.f%z", "%Y-%m-%d %H:%M%z", "%Y-%m-%dT%H:%M%z"] {
        if let Ok(instant) = DateTime::parse_from_str(&with_minutes, form) {
            return Some(instant.to_utc());
        }
    }
    if let Ok(date) = text.parse::<NaiveDate>() {
        return Some(date.and_time(NaiveTime::MIN).and_utc());
    }
    for form in ["%Y-%m-%d %H:%M", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"] {
        if let Ok(instant) = NaiveDateTime::parse_from_str(text, form) {
            return Some(instant.and_utc());
        }
    }
    let ago = TimeDelta::from_std(humantime::parse_duration(text).ok()?).ok()?;
    now.checked_sub_signed(ago)
}

/// The text with `+00` at its end as `+0000`, `Z` likewise, and no space before it.
fn offset_with_minutes(text: &str) -> String {
    let (time, offset) = match text.rfind(['+', '-']).filter(|place| *place > "2026-11-21".len()) {
        Some(place) => text.split_at(place),
        None => match text.strip_suffix(['Z', 'z']) {
            Some(time) => (time, "+0000"),
            None => (text, ""),
        },
    };
    let minutes = if offset.len() == 3 { "00" } else { "" };
    format!("{}{offset}{minutes}", time.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_one_instant() {
        let now = DateTime::parse_from_rfc3339("2026-11-21T09:30:00Z").expect("an instant").to_utc();
        let read = |text| at(text, now).map(|instant| instant.to_rfc3339());
        for (text, instant) in [
            ("now", "2026-11-21T09:30:00+00:00"),
            ("2026-11-20T10:00:00.5+02:00", "2026-11-20T08:00:00.500+00:00"),
            ("2026-11-20 08:00:00.123456Z", "2026-11-20T08:00:00.123456+00:00"),
            ("2026-11-20 08:00", "2026-11-20T08:00:00+00:00"),
            ("2026-11-20T08:00:01", "2026-11-20T08:00:01+00:00"),
            ("2026-11-20", "2026-11-20T00:00:00+00:00"),
            ("2026-11-20 10:00:00+00", "2026-11-20T10:00:00+00:00"),
            ("2026-11-20 10:00:00.123456+00", "2026-11-20T10:00:00.123456+00:00"),
            ("2026-11-20 10:00:00.5-03:30", "2026-11-20T13:30:00.500+00:00"),
            ("2026-11-20 10:00:00+0000", "2026-11-20T10:00:00+00:00"),
            ("2026-11-20 10:00:00 +02:00", "2026-11-20T08:00:00+00:00"),
            ("2026-11-20T10:00:00-02", "2026-11-20T12:00:00+00:00"),
            ("2026-11-20T10:00Z", "2026-11-20T10:00:00+00:00"),
            ("2026-11-20 10:00:00Z", "2026-11-20T10:00:00+00:00"),
            ("2h", "2026-11-21T07:30:00+00:00"),
            ("1day 30m", "2026-11-20T09:00:00+00:00"),
        ] {
            assert_eq!(read(text).as_deref(), Some(instant), "{text}");
        }
        for wrong in [
            "",
            "yesterday",
            "-2h",
            "2026-13-01",
            "9:30",
            "300000years",
            "2026-11-21T25:00Z",
            "2026-11-21+00",
            "2026-11-21 10:00:00+0",
            "2026-11-21 10:00:00+99",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
