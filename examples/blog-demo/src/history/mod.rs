//! A month of the platform's history, so that there is something to look through.
//!
//! It is made, not faked: every change is a real write, by way of the application's pool or past it, captured as any other.
//! Only then is it moved back in time, by the owner of the demo's own database; see `move_back.sql`.

mod chance;
mod day;
mod incidents;
mod people;
mod scribe;

use std::time::Instant;

use anyhow::Result;
use chrono::{DateTime, Datelike, Days, TimeDelta, Timelike, Utc, Weekday};
use diesel::prelude::*;
use threadline::AuditedPool;

use self::chance::Chance;
use self::people::Platform;
use self::scribe::Scribe;

/// How far back it reaches.
const DAYS: u64 = 30;

/// Writes it, unless a kept database has it already; prints what was done.
pub(crate) fn write(pool: &AuditedPool, mut terminal: PgConnection) -> Result<()> {
    if Platform::is_there(&mut terminal)? {
        return Ok(());
    }
    let started = Instant::now();
    let now = Utc::now();
    let chance = &mut Chance::new(7);
    let mut scribe = Scribe::new(pool, terminal)?;
    let first = now - Days::new(DAYS);
    let platform = &mut Platform::found(&mut scribe, chance, first)?;
    for day in 1..=DAYS {
        let date = first + Days::new(day);
        if at(date, 4, 0) < now {
            incidents::of_the_night(day, &mut scribe, chance, platform, at(date, 2, 15))?;
        }
        for moment in working_hours(date, chance) {
            // What has not come yet, and a little more: the traffic that follows is to be the newest.
            if moment < now - TimeDelta::minutes(20) {
                day::something(&mut scribe, chance, platform, moment)?;
            }
        }
        if day < DAYS {
            incidents::of_the_evening(day, &mut scribe, platform, at(date, 20, 5))?;
        }
    }
    let moved = scribe.move_back()?;
    println!(
        "  history      {DAYS} days of it, {moved} transactions and actions, made in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}

fn at(date: DateTime<Utc>, hour: u32, minute: u32) -> DateTime<Utc> {
    let midnight = date
        - TimeDelta::seconds(i64::from(date.num_seconds_from_midnight()))
        - TimeDelta::nanoseconds(i64::from(date.nanosecond()));
    midnight + TimeDelta::minutes(i64::from(hour * 60 + minute))
}

/// When people do something: between eight and six with a break at noon, and hardly at the weekend.
fn working_hours(date: DateTime<Utc>, chance: &mut Chance) -> Vec<DateTime<Utc>> {
    let count = match date.weekday() {
        Weekday::Sat | Weekday::Sun => 8,
        _ => 64 + chance.below(26),
    };
    let mut moments: Vec<_> = (0..count)
        .map(|_| {
            let seconds = i64::from(8 * 3600 + chance.below(10 * 3600));
            let micros = i64::from(chance.below(1_000_000));
            at(date, 0, 0) + TimeDelta::seconds(seconds) + TimeDelta::microseconds(micros)
        })
        .filter(|moment| moment.hour() != 12 || moment.minute() > 45)
        .collect();
    moments.sort_unstable();
    // What one thing brings about follows it within seconds.
    moments.dedup_by(|later, earlier| *later - *earlier < TimeDelta::seconds(40));
    moments
}
