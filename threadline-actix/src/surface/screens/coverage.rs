//! Coverage: whether everything that is to be captured is, and what mends what is not.

use std::sync::Arc;

use actix_web::HttpResponse;
use askama::Template;
use threadline::health::{
    self, CoverageOptions, CoverageStatus, Finding, FindingCode, Severity, TableCoverage,
};

use crate::surface::entry::table_text;
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::Moment;
use crate::surface::prose::Prose;
use crate::surface::pulse;
use crate::surface::query::Problem;
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

#[derive(Template)]
#[template(path = "surface/coverage.html")]
struct CoveragePage {
    shell: Shell,
    seen_at: Moment,
    anew: String,
    verdict: Verdict,
    findings: Vec<FindingView>,
    uncovered: Vec<TableView>,
    covered: Vec<TableView>,
    ignored: Vec<TableView>,
}

struct Verdict {
    class: &'static str,
    words: String,
}

struct FindingView {
    severity: &'static str,
    code: String,
    table: Option<String>,
    message: Prose,
    fix: String,
    /// The changes it is about.
    changes: Option<String>,
}

struct TableView {
    name: String,
    timeline: Option<String>,
    reasons: Vec<String>,
}

/// What is captured, and what is wrong.
pub(in crate::surface) async fn coverage(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut query = visit.query();
    let anew = match query.take("anew")?.as_deref() {
        None => false,
        Some("yes") => true,
        Some(_) => return Err(Problem::new("anew", "is not `yes`").into()),
    };
    let unknown = query.unknown(&["anew"]);
    if !unknown.is_empty() {
        return Err(Failure::Invalid(unknown));
    }
    let tables = visit.config.operation.tables.clone();
    let limit = visit.config.limit;
    // What the header has found out a moment ago is not looked for again.
    let known = visit.config.pulse.findings().filter(|_| !anew);
    let look = known.is_none();
    let (tables, found) = visit
        .read(move |conn, _| {
            let ignored = tables.ignored.iter().fold(CoverageOptions::new(), |options, ignored| {
                options.ignore(ignored.table.clone(), &ignored.reason)
            });
            let found = look.then(|| health::findings(conn, &pulse::options(&tables, limit)?)).transpose()?;
            Ok((health::coverage(conn, &ignored)?, found))
        })
        .await?;
    let (findings, seen_at): (Arc<[Finding]>, _) = match (found, known) {
        (None, Some(known)) => known,
        (found, _) => {
            let findings: Arc<[Finding]> = found.unwrap_or_default().into();
            visit.config.pulse.note(&findings);
            (findings, visit.now)
        }
    };
    let of = |statuses: &[CoverageStatus]| {
        let tables = tables.iter().filter(|table| statuses.contains(&table.status));
        tables.map(|table| TableView::new(visit, table)).collect::<Vec<_>>()
    };
    let uncovered = of(&[CoverageStatus::Uncovered, CoverageStatus::Gone]);
    visit.page(&CoveragePage {
        shell: visit.shell(),
        seen_at: visit.moment(seen_at),
        anew: visit.href(&Link::to("coverage").with("anew", "yes")),
        verdict: Verdict::new(&findings, uncovered.len()),
        findings: findings.iter().map(|finding| FindingView::new(visit, finding)).collect(),
        uncovered,
        covered: of(&[CoverageStatus::Covered]),
        ignored: of(&[CoverageStatus::Ignored]),
    })
}

impl Verdict {
    fn new(findings: &[Finding], uncovered: usize) -> Self {
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
        match (errors, warnings) {
            (0, 0) if uncovered == 0 => {
                Self { class: "good", words: "Every table is captured, or left out by decision.".to_owned() }
            }
            (0, 0) => Self {
                class: "warning",
                words: format!("{} not captured.", pulse::counted(uncovered, "table")),
            },
            (0, _) => Self {
                class: "warning",
                words: format!(
                    "Nothing is being lost that is to be captured; {} to look into.",
                    pulse::counted(warnings, "thing")
                ),
            },
            _ => Self {
                class: "bad",
                words: format!(
                    "The trail cannot be relied on as it is: {} to mend.",
                    pulse::counted(errors, "error")
                ),
            },
        }
    }
}

impl FindingView {
    fn new(visit: &Visit, finding: &Finding) -> Self {
        let table = finding.table_name();
        // It was looked for in the time the pulse looks at, a day.
        let changes = table.as_ref().filter(|_| finding.code == FindingCode::ActorlessChanges).map(|table| {
            let link = Link::to("timeline").with("table", table.to_plain()).with("actor", "nobody");
            visit.href(&link.with("window", "24h"))
        });
        Self {
            changes,
            severity: match finding.severity {
                Severity::Error => "error",
                Severity::Warning => "warning",
                _ => "info",
            },
            code: finding.code.to_string(),
            table: table.as_ref().map(table_text),
            message: Prose::sentence(&finding.message),
            fix: shown(&finding.fix),
        }
    }
}

impl TableView {
    fn new(visit: &Visit, coverage: &TableCoverage) -> Self {
        let link = Link::to("timeline").with("table", coverage.table.to_plain()).with("window", "30d");
        Self {
            name: table_text(&coverage.table),
            timeline: (coverage.status == CoverageStatus::Covered).then(|| visit.href(&link)),
            reasons: coverage.reasons.iter().map(|reason| shown(reason)).collect(),
        }
    }
}
