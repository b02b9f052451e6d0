//! Durations as people write them.

use std::time::Duration;

const NANOS: u128 = 1_000_000_000;

/// The units of `humantime`, largest first, in nanoseconds: a year is 365.25 days, a month a twelfth of it.
const UNITS: [(&str, u128); 9] = [
    (" year", 31_557_600 * NANOS),
    (" month", 2_630_016 * NANOS),
    (" day", 86_400 * NANOS),
    ("h", 3_600 * NANOS),
    ("min", 60 * NANOS),
    ("s", NANOS),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// As it is written in a file: `400 days`, `15min`, `500ms`, and `1h 30min` when no one unit fits.
pub(super) fn written(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    if nanos == 0 {
        return "0s".to_owned();
    }
    // Of years to days the largest that fits alone, so that 400 days do not become a year, a month and some hours.
    let alone = UNITS[..3].iter().find(|(_, unit)| nanos.is_multiple_of(*unit));
    let (units, mut left) = (if alone.is_some() { &UNITS[..] } else { &UNITS[2..] }, nanos);
    let mut parts = Vec::new();
    for (unit, size) in alone.map_or(units, std::slice::from_ref) {
        let count = left / size;
        left %= size;
        if count > 0 {
            let plural = if unit.starts_with(' ') && count > 1 { "s" } else { "" };
            parts.push(format!("{count}{unit}{plural}"));
        }
    }
    parts.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_written_in_the_unit_it_was_meant_in() {
        for text in [
            "10 years",
            "1 year",
            "400 days",
            "1 day",
            "1h",
            "15min",
            "5s",
            "500ms",
            "50us",
            "3ns",
            "1h 30min",
            "2 days 1h",
            "0s",
        ] {
            assert_eq!(written(humantime::parse_duration(text).unwrap()), text);
        }
    }
}
