//! Retention: what is kept for how long, what is held, what is due, which months there are, and what earlier runs removed.

mod due;

use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use threadline::holds::{self, LegalHold};
use threadline::partitions::{self, Partition, PartitionState};
use threadline::retention::RetentionPolicy;
use threadline::retention::{self, RetentionRun, RunState};

use self::due::Due;
pub(in crate::surface) use self::due::remove_due;
use crate::surface::entry::table_text;
use crate::surface::failure::Failure;
use crate::surface::moment::Moment;
use crate::surface::query::Problem;
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

/// Runs on the page.
const RUNS: u32 = 40;

#[derive(Template)]
#[template(path = "surface/retention.html")]
struct RetentionPage {
    shell: Shell,
    windows: Vec<Window>,
    holds: Vec<HoldView>,
    months: Vec<Month>,
    runs: Vec<RunView>,
    due: Due,
    problems: Vec<Problem>,
    outcome: Option<Outcome>,
}

/// What became of what somebody asked for.
struct Outcome {
    class: &'static str,
    words: String,
    goes_on: bool,
}

struct Window {
    what: String,
    kept: String,
}

struct HoldView {
    id: i64,
    what: String,
    reason: String,
    by: String,
    when: Moment,
}

struct Month {
    name: String,
    changes: String,
    size: String,
    state: &'static str,
}

struct RunView {
    id: i64,
    when: Moment,
    state: &'static str,
    failed: bool,
    error: Option<String>,
    by: String,
    changes: u64,
    months: u64,
    size: String,
}

/// What is kept, and what went; with `?due=yes` what is due as well.
pub(in crate::surface) async fn retention(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut query = visit.query();
    let asked = match query.take("due")?.as_deref() {
        None => false,
        Some("yes") => true,
        Some(_) => return Err(Problem::new("due", "is not `yes`").into()),
    };
    let since = query.take("since")?.map(|text| text.parse::<i64>());
    let since = since.transpose().map_err(|_| Problem::new("since", "is not the number of a run"))?;
    let unknown = query.unknown(&["due", "since"]);
    if !unknown.is_empty() {
        return Err(Failure::Invalid(unknown));
    }
    show(visit, StatusCode::OK, Due::of(visit, asked).await?, Vec::new(), since).await
}

async fn page(
    visit: &Visit,
    status: StatusCode,
    due: Due,
    problems: Vec<Problem>,
) -> Result<HttpResponse, Failure> {
    show(visit, status, due, problems, None).await
}

/// The page; with what became of the run after this one, if it is to be told.
async fn show(
    visit: &Visit,
    status: StatusCode,
    due: Due,
    problems: Vec<Problem>,
    since: Option<i64>,
) -> Result<HttpResponse, Failure> {
    let (holds, partitions, runs) = visit
        .read(|conn, _| {
            Ok((holds::list(conn, false)?, partitions::list(conn)?, retention::runs(conn, RUNS)?))
        })
        .await?;
    let months = partitions.partitions.iter().rev().filter(|month| !is_filler(month));
    let page = RetentionPage {
        shell: visit.shell(),
        windows: windows(&visit.config.operation.retention),
        holds: holds.iter().map(|hold| HoldView::new(visit, hold)).collect(),
        months: months.map(Month::new).collect(),
        runs: runs.iter().map(|run| RunView::new(visit, run)).collect(),
        outcome: since.map(|since| Outcome::new(visit, runs.iter().rfind(|run| run.id > since))),
        due,
        problems,
    };
    visit.page_with(status, &page)
}

/// Whether only a clock that was set back leads there.
fn is_filler(partition: &Partition) -> bool {
    partition.name.starts_with("filler")
}

fn windows(section: &RetentionPolicy) -> Vec<Window> {
    let kept = |window: Option<Duration>| window.map_or_else(|| "for ever".to_owned(), days);
    let window = |what: String, kept: String| Window { what, kept };
    let mut windows = vec![window("Changes".to_owned(), kept(section.keep))];
    windows.extend(
        section
            .tables
            .iter()
            .map(|(table, &time)| window(format!("Changes of {}", table_text(table)), days(time))),
    );
    windows.extend(
        section
            .actions
            .iter()
            .map(|(name, &time)| window(format!("Changes by action {}", shown(name)), days(time))),
    );
    windows.push(window("Export files".to_owned(), days(section.exports)));
    windows.push(window("Evidence".to_owned(), kept(section.evidence)));
    windows.push(window("Access log".to_owned(), kept(section.access_log)));
    windows.push(window("At least, whatever else is set".to_owned(), days(section.minimum)));
    windows
}

/// A time in the largest unit that says it exactly. A year is 365.25 days and a month 30.44, as `threadline.toml` reads them.
pub(in crate::surface) fn days(time: Duration) -> String {
    let seconds = time.as_secs();
    let (count, unit) = match seconds {
        // As `threadline.toml` has them: a year of 365.25 days, a twelfth of it.
        _ if seconds > 0 && seconds.is_multiple_of(31_557_600) => (seconds / 31_557_600, "year"),
        _ if seconds > 0 && seconds.is_multiple_of(2_630_016) => (seconds / 2_630_016, "month"),
        _ if seconds > 0 && seconds.is_multiple_of(86_400) => (seconds / 86_400, "day"),
        _ if seconds > 0 && seconds.is_multiple_of(3_600) => (seconds / 3_600, "hour"),
        _ if seconds > 0 && seconds.is_multiple_of(60) => (seconds / 60, "minute"),
        _ => (seconds, "second"),
    };
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

/// A size in the unit that leaves it readable.
pub(in crate::surface) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let place = (bytes.max(1).ilog2() / 10).min(4) as usize;
    match place {
        0 => format!("{bytes} B"),
        _ => format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * place)) as f64, UNITS[place]),
    }
}

impl HoldView {
    fn new(visit: &Visit, hold: &LegalHold) -> Self {
        let mut what: Vec<String> = Vec::new();
        what.extend(hold.table.as_ref().map(|table| format!("table {}", table_text(table))));
        what.extend(hold.row_key.as_deref().map(|key| format!("row {}", shown(key))));
        what.extend(hold.scope.as_deref().map(|scope| format!("tenant {}", shown(scope))));
        what.extend(hold.actor.as_ref().map(|actor| format!("actor {}", shown(&actor.to_string()))));
        let clock = |at: chrono::DateTime<chrono::Utc>| visit.moment(at).shown;
        what.extend(hold.from.map(|from| format!("from {}", clock(from))));
        what.extend(hold.to.map(|to| format!("to {}", clock(to))));
        Self {
            id: hold.id,
            what: if what.is_empty() { "everything".to_owned() } else { what.join(", ") },
            reason: shown(&hold.reason),
            by: shown(&hold.placed_by.to_string()),
            when: visit.moment(hold.placed_at),
        }
    }
}

impl Outcome {
    /// Of the run that was asked for, unless it has not begun.
    fn new(visit: &Visit, run: Option<&RetentionRun>) -> Self {
        let Some(run) = run else {
            let words = "The run has not begun yet.".to_owned();
            return Self { class: "warning", words, goes_on: true };
        };
        let what = |number: u64, one: &str| match number {
            1 => format!("1 {one}"),
            _ => format!("{number} {one}s"),
        };
        let gone = [
            (run.changes, "change"),
            (run.transactions, "transaction"),
            (run.actions, "action"),
            (run.looks, "look"),
            (run.exports, "export"),
            (run.evidence, "record of evidence"),
        ];
        let gone: Vec<String> =
            gone.iter().filter(|(number, _)| *number > 0).map(|(number, one)| what(*number, one)).collect();
        let gone = if gone.is_empty() { "Nothing".to_owned() } else { gone.join(", ") };
        let back = match run.bytes {
            0 => String::new(),
            bytes => format!(", {} of disk came back", size(bytes)),
        };
        let whole = match run.months {
            0 => String::new(),
            months => format!(", {} whole", what(months, "month")),
        };
        let gone = format!("{gone} went{whole}{back}");
        let at = visit.moment(run.ended_at.unwrap_or(run.started_at)).shown;
        let (class, words, goes_on) = match run.state {
            RunState::Running => ("warning", format!("Run {} is under way. So far: {gone}.", run.id), true),
            RunState::Completed => ("good", format!("Run {} was over at {at}. {gone}.", run.id), false),
            state => ("bad", format!("Run {} ended as {} at {at}. {gone}.", run.id, state.as_str()), false),
        };
        Self { class, words, goes_on }
    }
}

impl Month {
    fn new(partition: &Partition) -> Self {
        Self {
            name: partition.name.replace('_', "-"),
            changes: partition
                .changes_estimate
                .map_or_else(|| "unknown".to_owned(), |changes| changes.to_string()),
            size: size(partition.bytes),
            state: match partition.state {
                PartitionState::Attached => "in the trail",
                PartitionState::Leaving => "leaving",
                PartitionState::Restored => "restored for reading",
                _ => "",
            },
        }
    }
}

impl RunView {
    fn new(visit: &Visit, run: &RetentionRun) -> Self {
        Self {
            id: run.id,
            when: visit.moment(run.started_at),
            state: run.state.as_str(),
            failed: !matches!(run.state, RunState::Completed | RunState::Running),
            error: run.error.clone(),
            by: shown(&run.asked_by.to_string()),
            changes: run.changes,
            months: run.months,
            size: size(run.bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use threadline::config::Config;

    use super::days;

    #[test]
    fn a_time_is_told_as_it_was_configured() {
        for written in ["2 years", "1 year", "6 months", "45 days", "36 hours", "1 minute"] {
            let config =
                Config::parse(&format!("[retention]\nkeep = \"{written}\"\nminimum = \"1 minute\"")).unwrap();
            assert_eq!(days(config.retention.keep.unwrap()), written);
        }
    }
}
