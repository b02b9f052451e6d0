//! The canonical form of an address: one that means the same to everybody it is handed on to.
//!
//! Forms send times as fields for them have them, on the clock of who fills them in, and every field that was left empty. Whoever
//! opens such an address would read the times on their own clock.

use chrono::SecondsFormat;
use chrono_tz::Tz;
use url::form_urlencoded;

use super::moment;

/// What is asked, canonically; `None` where it is canonical already. Parts of these names are instants; those on the clock of
/// `zone` become UTC, and those that nobody can read stay as they are.
pub(super) fn canonical(query: &str, instants: &[&str], zone: Tz) -> Option<Vec<(String, String)>> {
    let mut is_canonical = true;
    let mut pairs = Vec::new();
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        if value.trim().is_empty() {
            is_canonical = false;
            continue;
        }
        let local =
            instants.contains(&name.as_ref()).then(|| moment::written_locally(&value, zone)).flatten();
        let value = match local {
            Some(instant) => {
                is_canonical = false;
                instant.to_rfc3339_opts(SecondsFormat::AutoSi, true)
            }
            None => value.into_owned(),
        };
        pairs.push((name.into_owned(), value));
    }
    (!is_canonical).then_some(pairs)
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;

    const INSTANTS: [&str; 2] = ["from", "to"];

    fn written(query: &str, zone: Tz) -> Option<String> {
        let pairs = canonical(query, &INSTANTS, zone)?;
        Some(form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish())
    }

    #[test]
    fn blank_parts_go_and_local_times_become_the_instants_they_are() {
        for (query, zone, wanted) in [
            (
                "from=2026-11-20T08:00&to=&table=a",
                Tz::Europe__Berlin,
                "from=2026-11-20T07%3A00%3A00Z&table=a",
            ),
            ("to=2026-07-01&op=&op=+", Tz::America__New_York, "to=2026-07-01T04%3A00%3A00Z"),
            ("from=2026-11-20+08:00:01.25", Tz::UTC, "from=2026-11-20T08%3A00%3A01.250Z"),
            ("at=2026-11-20&x=", Tz::UTC, "at=2026-11-20"),
            ("from=", Tz::UTC, ""),
        ] {
            assert_eq!(written(query, zone).as_deref(), Some(wanted), "{query}");
            assert_eq!(written(wanted, Tz::Asia__Kolkata), None, "{wanted} is not canonical");
        }
        for query in [
            "",
            "table=a&window=7d&table=b",
            "from=2026-11-20T08:00:00Z",
            "from=2026-11-20T08:00:00%2B01:00",
            "from=yesterday&to=2026-13-01",
            // The clocks left it out that day.
            "from=2026-03-29T02:30",
            "from=-262000-01-01",
        ] {
            assert_eq!(written(query, Tz::Europe__Berlin), None, "{query}");
        }
    }

    #[test]
    fn a_canonical_address_is_the_same_instant_in_every_zone_and_is_its_own_canonical_form() {
        let start = DateTime::from_timestamp(946_684_800, 0).unwrap();
        for zone in
            [Tz::UTC, Tz::Europe__Berlin, Tz::America__St_Johns, Tz::Asia__Kathmandu, Tz::Pacific__Apia]
        {
            for step in 0..2_000_i64 {
                let at = start + chrono::TimeDelta::seconds(step * 433_333);
                let field = moment::for_field(at, zone);
                let query = written(&format!("from={field}&to="), zone).expect("it is a local time");
                let value = form_urlencoded::parse(query.as_bytes()).next().unwrap().1.into_owned();
                let meant = DateTime::parse_from_rfc3339(&value).unwrap().to_utc();
                // An hour that comes twice is meant the first time.
                assert!(meant == at || moment::for_field(meant, zone) == field, "{field} in {zone}: {value}");
                assert_eq!(written(&query, Tz::Asia__Tokyo), None);
            }
        }
    }
}
