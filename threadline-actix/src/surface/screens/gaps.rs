//! Gaps: since when each table is captured, what was not captured, and what therefore has no answer.

use std::time::Duration;

use actix_web::HttpResponse;
use askama::Template;
use chrono::Utc;
use threadline::continuity::{self, Baseline, Continuity, KnownGap};
use threadline::health::{self, Finding, FindingCode, HealthOptions};

use crate::surface::entry::{key_text, table_text};
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::Moment;
use crate::surface::prose::Prose;
use crate::surface::pulse;
use crate::surface::query::Problem;
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

/// Tables on a page.
const SIZE: u32 = 50;

/// Gaps of a table that are listed one by one.
const LISTED: usize = 20;

#[derive(Template)]
#[template(path = "surface/gaps.html")]
struct GapsPage {
    shell: Shell,
    class: &'static str,
    verdict: String,
    /// What was looked at, in a sentence.
    looked_at: Prose,
    found: Vec<FoundGaps>,
    unseen: Vec<Prose>,
    tables: Vec<TableView>,
    newer: Option<String>,
    older: Option<String>,
    /// A look at more.
    deeper: Option<String>,
}

/// Writes that escaped capture, of one table.
struct FoundGaps {
    table: String,
    rows: Vec<RowWithGap>,
    more: usize,
    fix: String,
}

struct RowWithGap {
    key: String,
    href: Option<String>,
    transaction: Option<String>,
    after: Option<Moment>,
}

struct TableView {
    name: String,
    timeline: String,
    /// `captured`, `not captured whole`, `no longer captured`.
    state: &'static str,
    class: &'static str,
    since: Option<Moment>,
    problems: Vec<Prose>,
    /// What has no answer, and why.
    unknown: Vec<String>,
    known_gaps: Vec<KnownGapView>,
    baselines: Vec<BaselineView>,
}

struct KnownGapView {
    after: Option<Moment>,
    reason: String,
    by: String,
    when: Moment,
    transaction: String,
}

struct BaselineView {
    when: Moment,
    rows: u64,
    reason: String,
    by: String,
}

/// What is known without a break, and what is not.
pub(in crate::surface) async fn gaps(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut query = visit.query();
    let skip = match query.take("skip")? {
        None => 0,
        Some(text) => {
            text.parse::<u32>().map_err(|_| Problem::new("skip", "is not a number of tables, such as 50"))?
        }
    };
    let depth = match query.take("deeper")?.as_deref() {
        None => Depth::OfThePulse,
        Some("yes") => Depth::Deeper,
        Some(_) => return Err(Problem::new("deeper", "is not `yes`").into()),
    };
    let unknown = query.unknown(&["skip", "deeper"]);
    if !unknown.is_empty() {
        return Err(Failure::Invalid(unknown));
    }
    let (operation, limit) = (visit.config.operation.clone(), visit.config.limit);
    let known = visit.config.pulse.findings().filter(|_| depth == Depth::OfThePulse);
    let is_known = known.is_some();
    let (mut tables, findings, seen_at) = visit
        .read(move |conn, _| {
            let tables = continuity::overview(conn, skip, SIZE + 1)?;
            // Rows are folded for it, which nobody waits for that has just had it done.
            let (findings, seen_at) = match known {
                Some(known) => known,
                None => {
                    let options = depth.of(pulse::options(&operation.tables, limit)?);
                    (health::findings(conn, &options)?.into(), Utc::now())
                }
            };
            Ok((tables, findings, seen_at))
        })
        .await?;
    if !is_known && depth == Depth::OfThePulse {
        visit.config.pulse.note(&findings);
    }
    let has_more = tables.len() > SIZE as usize;
    tables.truncate(SIZE as usize);
    let found: Vec<FoundGaps> = findings
        .iter()
        .filter(|finding| finding.code == FindingCode::Gap)
        .map(|gap| FoundGaps::new(visit, gap))
        .collect();
    let unseen: Vec<Prose> = findings
        .iter()
        .filter(|finding| finding.code == FindingCode::CouldNotCheck && finding.details["check"] == "gaps")
        .map(|finding| match finding.table_name() {
            Some(table) => Prose::new(&format!("{}: {}", table_text(&table), finding.message)),
            None => Prose::sentence(&finding.message),
        })
        .collect();
    let tables: Vec<TableView> = tables.iter().map(|table| TableView::new(visit, table)).collect();
    let page_at = |skip: u32| {
        let link = Link::to("gaps");
        let link = if depth == Depth::Deeper { link.with("deeper", "yes") } else { link };
        visit.href(&if skip == 0 { link } else { link.with("skip", skip.to_string()) })
    };
    let (class, verdict) = verdict(&found, &unseen, &tables, depth);
    visit.page(&GapsPage {
        shell: visit.shell(),
        class,
        verdict,
        looked_at: Prose::new(&format!(
            "Looked at {}, for up to {} s. What was written before is found by `threadline doctor --gap-rows 5000 --recent 90d`.",
            visit.moment(seen_at).shown,
            depth.seconds(),
        )),
        deeper: (depth == Depth::OfThePulse)
            .then(|| visit.href(&Link::to("gaps").with("deeper", "yes"))),
        found,
        unseen,
        tables,
        newer: (skip > 0).then(|| page_at(skip.saturating_sub(SIZE))),
        older: has_more.then(|| page_at(skip + SIZE)),
    })
}

/// How much is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Depth {
    /// As for the mark in the header.
    OfThePulse,
    Deeper,
}

impl Depth {
    fn of(self, options: HealthOptions) -> HealthOptions {
        match self {
            Self::OfThePulse => options,
            Self::Deeper => options
                .recent(Duration::from_secs(30 * 86_400))
                .gap_rows(2_000)
                .gap_time(Duration::from_secs(self.seconds())),
        }
    }

    fn seconds(self) -> u64 {
        match self {
            Self::OfThePulse => 2,
            Self::Deeper => 5,
        }
    }

    /// Which rows are looked at.
    fn words(self) -> &'static str {
        match self {
            Self::OfThePulse => "the 100 rows changed last in the past 24 hours",
            Self::Deeper => "the 2,000 rows changed last in the past 30 days",
        }
    }
}

fn verdict(
    found: &[FoundGaps],
    unseen: &[Prose],
    tables: &[TableView],
    depth: Depth,
) -> (&'static str, String) {
    let rows: usize = found.iter().map(|found| found.rows.len() + found.more).sum();
    let partly = tables.iter().filter(|table| table.class == "bad").count();
    let not_whole = match partly {
        0 => String::new(),
        1 => " One table is not captured whole at present.".to_owned(),
        _ => format!(" {partly} tables are not captured whole at present."),
    };
    match (rows, partly) {
        (1, _) => ("bad", format!("A write to a row escaped capture, and nobody has said why.{not_whole}")),
        (2.., _) => {
            ("bad", format!("Writes to {rows} rows escaped capture, and nobody has said why.{not_whole}"))
        }
        (0, 1..) => ("warning", format!("No write escaped unexplained among {}.{not_whole}", depth.words())),
        (0, 0) if !unseen.is_empty() => {
            ("warning", "Whether a write escaped capture could not be seen everywhere.".to_owned())
        }
        (0, 0) if tables.is_empty() => ("warning", "No table has ever been captured.".to_owned()),
        (0, 0) => ("good", format!("No write escaped capture among {}.", depth.words())),
    }
}

impl FoundGaps {
    fn new(visit: &Visit, finding: &Finding) -> Self {
        let gaps = finding.details["gaps"].as_array().map_or(&[][..], Vec::as_slice);
        let table = finding.table_name();
        let rows = gaps.iter().take(LISTED).map(|gap| {
            let key = gap["key"].as_str().unwrap_or_default();
            let change = gap["change"].as_str().or_else(|| gap["change"]["transaction_id"].as_str());
            let transaction = change.map(|id| id.get(..36).unwrap_or(id).to_owned());
            let after = gap["after"].as_str().and_then(|text| text.replacen(' ', "T", 1).parse().ok());
            // A key of several columns is a list, which a row is not found by.
            let row = table.as_ref().filter(|_| !key.starts_with('['));
            let link = row.map(|table| Link::to("rows").with("table", table.to_plain()).with("key", key));
            RowWithGap {
                key: key_text(None, key),
                href: link.map(|link| visit.href(&link)),
                transaction: transaction.map(|id| visit.href(&Link::to(format!("transactions/{id}")))),
                after: after.map(|at| visit.moment(at)),
            }
        });
        Self {
            table: table.as_ref().map(table_text).unwrap_or_default(),
            rows: rows.collect(),
            more: gaps.len().saturating_sub(LISTED),
            fix: shown(&finding.fix),
        }
    }
}

impl TableView {
    fn new(visit: &Visit, known: &Continuity) -> Self {
        let since = known.known_since();
        let (state, class) = match since {
            Some(_) if known.problems.is_empty() => ("captured", "good"),
            Some(_) => ("not captured whole", "bad"),
            None => ("no longer captured", "quiet"),
        };
        let timeline = Link::to("timeline").with("table", known.table.to_plain()).with("window", "all");
        Self {
            name: table_text(&known.table),
            timeline: visit.href(&timeline),
            state,
            class,
            since: since.map(|since| visit.moment(since)),
            problems: known.problems.iter().map(|problem| Prose::sentence(&problem.what)).collect(),
            unknown: unknown(visit, known),
            known_gaps: known.gaps.iter().map(|gap| KnownGapView::new(visit, gap)).collect(),
            baselines: known.baselines.iter().map(|baseline| BaselineView::new(visit, baseline)).collect(),
        }
    }
}

/// What cannot be answered about a table, and of when.
fn unknown(visit: &Visit, known: &Continuity) -> Vec<String> {
    let clock = |at: chrono::DateTime<chrono::Utc>| visit.moment(at).shown;
    let mut said = Vec::new();
    match (known.known_since(), known.periods.last().and_then(|period| period.ended_at)) {
        (Some(since), _) => said.push(format!(
            "Before {}: rows that changed since are known as they were before their first change; rows that came and went, and \
             who wrote what, are not.",
            clock(since)
        )),
        (None, Some(ended)) => said.push(format!("Since {}: nothing is captured.", clock(ended))),
        (None, None) => said.push("At no time was it captured.".to_owned()),
    }
    if let Some(kept) = known.kept_since {
        said.push(format!("Before {}: retention has removed what was captured.", clock(kept)));
    }
    for (from, to) in known.interruptions() {
        said.push(format!("From {} to {}: nothing was captured.", clock(from), clock(to)));
    }
    if let (Some(last), 1..) = (known.last_truncate, known.truncates) {
        let times =
            if known.truncates == 1 { "once".to_owned() } else { format!("{} times", known.truncates) };
        said.push(format!("Truncated {times}, last at {}: the rows that went were not kept.", clock(last)));
    }
    if known.is_redacted {
        said.push("Values of excluded and masked columns were never recorded.".to_owned());
    }
    said
}

impl KnownGapView {
    fn new(visit: &Visit, gap: &KnownGap) -> Self {
        Self {
            after: gap.after.map(|after| visit.moment(after)),
            reason: shown(&gap.reason),
            by: shown(&gap.acknowledged_by),
            when: visit.moment(gap.acknowledged_at),
            transaction: visit.href(&Link::to(format!("transactions/{}", gap.transaction_id))),
        }
    }
}

impl BaselineView {
    fn new(visit: &Visit, baseline: &Baseline) -> Self {
        Self {
            when: visit.moment(baseline.recorded.recorded_at),
            rows: baseline.rows,
            reason: shown(&baseline.recorded.reason),
            by: shown(&baseline.recorded.recorded_by),
        }
    }
}
