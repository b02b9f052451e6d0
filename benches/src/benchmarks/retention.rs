//! `retention`: a month that leaves as a partition, and one that goes in batches.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use anyhow::ensure;
use chrono::{DateTime, Datelike, Months, NaiveTime, Utc};
use threadline::retention::{self, Progress, RetentionPolicy, RetentionRun};
use threadline::{Actor, TableName};

use crate::figures::Figure;
use crate::loaded_trail::LoadedTrail;
use crate::machine::Machine;
use crate::table::Table;
use crate::{Effort, Outcome};

/// Measures both ways on trails of two months, of which the one that is whole has half of the changes.
///
/// # Errors
///
/// When the server refuses a statement, or something else went than was to go; panics as [`LoadedTrail::new`] does.
pub(crate) fn run(effort: Effort) -> anyhow::Result<Outcome> {
    let changes = match effort {
        Effort::Full => 10_000_000,
        Effort::Quick => 400_000,
        Effort::Smoke => 6_000,
    };
    let mut trail = LoadedTrail::over(changes, 2)?;
    // What is older than the whole month goes first.
    retain(&mut trail, &until(month(1)?), &mut |_| {})?;
    let dropped = retain(&mut trail, &until(month(0)?), &mut |_| {})?;
    ensure!(dropped.run.months == 1, "{} months went, not one", dropped.run.months);
    drop(trail);

    let mut trail = LoadedTrail::over(changes, 2)?;
    retain(&mut trail, &until(month(1)?), &mut |_| {})?;
    // The settings have to stay, and the month with them.
    let longer = until(month(0)?).table(TableName::new(None, "settings"), Duration::from_secs(400 * 86_400));
    let (mut slowest, mut last) = (Duration::ZERO, Instant::now());
    let thinned = retain(&mut trail, &longer, &mut |step| {
        if matches!(step, Progress::Batch { .. }) {
            slowest = slowest.max(last.elapsed());
        }
        last = Instant::now();
    })?;
    ensure!(thinned.run.months == 0, "{} months went, not none", thinned.run.months);

    let seconds = |run: &Measured| run.took.as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let (mib, rate) =
        (dropped.run.bytes as f64 / 1_048_576.0, thinned.run.changes as f64 / seconds(&thinned));
    let slowest = slowest.as_secs_f64() * 1e3;
    let figures = vec![
        Figure::new("retention.partition.s".into(), seconds(&dropped), 3, "s", Some(1.0)),
        Figure::new("retention.partition.returned_mib".into(), mib, 0, "MiB", None).more_is_better(),
        Figure::new("retention.batched.rows_per_s".into(), rate, 0, "rows/s", None).more_is_better(),
        Figure::new("retention.batched.slowest_batch_ms".into(), slowest, 1, "ms", None),
    ];
    let mut table =
        Table::new(&["a month goes", "changes", "s", "changes/s", "MiB returned", "slowest batch ms"]);
    table.push(vec![
        "as a partition".into(),
        dropped.run.changes.to_string(),
        format!("{:.3}", seconds(&dropped)),
        "-".into(),
        format!("{mib:.0}"),
        "-".into(),
    ]);
    table.push(vec![
        "in batches".into(),
        thinned.run.changes.to_string(),
        format!("{:.3}", seconds(&thinned)),
        format!("{rate:.0}"),
        "-".into(),
        format!("{slowest:.1}"),
    ]);
    let tables = format!("without pauses, batches of 5000; the whole run is timed\n\n{}", table.render());
    Ok(Outcome { machine: Machine::of(&mut trail.conn)?, figures, tables })
}

struct Measured {
    run: RetentionRun,
    took: Duration,
}

fn retain(
    trail: &mut LoadedTrail,
    policy: &RetentionPolicy,
    follow: &mut dyn FnMut(&Progress),
) -> anyhow::Result<Measured> {
    let started = Instant::now();
    let run = retention::run(&mut trail.conn, policy, &Actor::system(1), None, &mut |step| {
        follow(step);
        ControlFlow::Continue(())
    })?;
    Ok(Measured { run, took: started.elapsed() })
}

/// The month's first instant, so many months ago.
fn month(ago: u32) -> anyhow::Result<DateTime<Utc>> {
    let today = Utc::now().date_naive();
    let first = today.with_day(1).and_then(|first| first.checked_sub_months(Months::new(ago)));
    let first = first.ok_or_else(|| anyhow::anyhow!("the calendar has no such month"))?;
    Ok(first.and_time(NaiveTime::MIN).and_utc())
}

/// What was captured before goes.
fn until(at: DateTime<Utc>) -> RetentionPolicy {
    let window = (Utc::now() - at).to_std().unwrap_or_default();
    RetentionPolicy::new().keep(window).minimum(Duration::ZERO).pause(Duration::ZERO)
}
