//! Health: which tables are audited, and everything that is wrong with how they are, each with what mends it.
//!
//! ```no_run
//! use diesel::prelude::*;
//! use threadline::health::{self, HealthOptions};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let conn = &mut PgConnection::establish("postgres://localhost/blog")?;
//! for finding in health::findings(conn, &HealthOptions::default())? {
//!     println!("{finding}");
//! }
//! # Ok(())
//! # }
//! ```

mod access;
mod capture;
mod checks;
mod coverage;
mod definition;
mod expression;
mod finding;
mod holds;
mod names;
mod options;
mod partitions;
mod properties;
mod recent;
mod schema;
mod shipped;
mod tables;
mod trail;
mod triggers;

use std::collections::HashSet;

use diesel::prelude::*;
use tracing::field::Empty;

pub(crate) use self::capture::{attach_undeclared, refresh};
use self::checks::{Check, Checks};
pub use self::coverage::{
    CoverageOptions, CoverageStatus, Ignored, PartitionCoverage, TableCoverage, coverage, evidence,
    record_evidence,
};
pub(crate) use self::coverage::{Decisions, of_deployed};
pub(crate) use self::finding::sort;
pub use self::finding::{Finding, FindingCode, Severity};
pub(crate) use self::names::{Unknown, nearest, nearest_name, nearest_table, unknown_to_the_trail};
pub use self::options::HealthOptions;
pub(crate) use self::recent::stored_key;
use crate::error::Error;
use crate::investigation::in_one_snapshot;
use crate::operation::deployed::{Deployed, resolve};
use crate::telemetry;

/// Everything that is wrong with the audit, the worst first, then by table and code; empty when nothing is.
///
/// All checks see one snapshot, write nothing and take no locks beyond those of reading. What the role may not see, and what
/// took longer than the timeout, is a [`CouldNotCheck`](FindingCode::CouldNotCheck) with the reason, and the rest is still
/// answered. Inside a transaction of the caller's that is not `REPEATABLE READ`, rows are not folded for gaps.
///
/// # Errors
///
/// [`Error::SchemaMissing`], [`Error::ConnectionLost`].
pub fn findings(conn: &mut PgConnection, options: &HealthOptions) -> Result<Vec<Finding>, Error> {
    let span = tracing::info_span!("threadline.health", outcome = Empty);
    let findings = span.in_scope(|| findings_unobserved(conn, options));
    span.record("outcome", telemetry::outcome(&findings));
    let findings = findings?;
    for severity in [Severity::Error, Severity::Warning, Severity::Info] {
        let number = findings.iter().filter(|finding| finding.severity == severity).count();
        telemetry::FINDINGS.set(number, [severity.as_str()]);
    }
    Ok(findings)
}

fn findings_unobserved(conn: &mut PgConnection, options: &HealthOptions) -> Result<Vec<Finding>, Error> {
    in_one_snapshot(conn, |conn| {
        let decisions = Decisions::resolve(conn, &options.coverage)?;
        let expected = resolve(conn, &options.expected)?;
        let deployed = Deployed::load(conn)?;
        let expected: HashSet<i64> = expected.into_values().collect();
        let mut findings = of(conn, &deployed, options, &decisions, &expected)?;
        findings.extend(names::findings(conn, &deployed, options, &decisions)?);
        sort(&mut findings);
        Ok(findings)
    })
}

/// The findings about what is deployed, unsorted.
pub(crate) fn of(
    conn: &mut PgConnection,
    deployed: &Deployed,
    options: &HealthOptions,
    decisions: &Decisions<'_>,
    expected: &HashSet<i64>,
) -> Result<Vec<Finding>, Error> {
    let mut checks = Checks::new(conn, options)?;
    if let Err(unanswered) = &deployed.audited {
        checks.could_not(Check::POLICIES, unanswered);
    }
    checks
        .run(conn, Check::CAPTURE, |conn| capture::findings(conn, deployed, options, decisions, expected))?;
    checks.run(conn, Check::SCHEMA, |conn| schema::findings(conn, deployed))?;
    checks.run(conn, Check::TRAIL, trail::findings)?;
    checks.run(conn, Check::PARTITIONS, partitions::findings)?;
    checks.run(conn, Check::GRANTS, access::grants)?;
    checks.run(conn, Check::OWNERS, access::owners)?;
    checks.run(conn, Check::SETTINGS, access::settings)?;
    checks.run(conn, Check::CLUSTER, |conn| Ok(holds::moved(conn)?.into_iter().collect()))?;
    let mut sees_all = true;
    checks.run(conn, Check::TRANSACTIONS, |conn| {
        let (findings, sees) = holds::long_transactions(conn, options.feed_hold)?;
        sees_all = sees;
        Ok(findings)
    })?;
    if !sees_all {
        checks.hidden_sessions();
    }
    // Without the policies, what was counted and folded could not be told by its table.
    match &deployed.audited {
        _ if !options.actors => {}
        Ok(_) => checks.run(conn, Check::ACTORS, |conn| recent::actorless(conn, deployed, options))?,
        Err(unanswered) => checks.could_not(Check::ACTORS, unanswered),
    }
    if !options.named_actions.is_empty() {
        checks.run(conn, Check::ACTIONS, |conn| names::unknown_actions(conn, options))?;
    }
    if options.orphans {
        checks.run(conn, Check::ORPHANS, |conn| recent::orphans(conn, options))?;
    }
    match &deployed.audited {
        _ if !options.gaps => {}
        Ok(_) => checks.gaps(conn, deployed, options)?,
        Err(unanswered) => checks.could_not(Check::GAPS, unanswered),
    }
    Ok(checks.findings)
}

/// The findings about the capture of tables alone.
pub(crate) fn capture_findings(
    conn: &mut PgConnection,
    deployed: &Deployed,
    options: &HealthOptions,
    decisions: &Decisions<'_>,
) -> Result<Vec<Finding>, Error> {
    capture::findings(conn, deployed, options, decisions, &HashSet::new())
}

/// The findings about what all capture passes through: the trail's own schema and tables, and settings.
pub(crate) fn trail_findings(conn: &mut PgConnection, deployed: &Deployed) -> Result<Vec<Finding>, Error> {
    let mut findings = schema::findings(conn, deployed)?;
    findings.extend(trail::findings(conn)?);
    findings.extend(access::settings(conn)?);
    Ok(findings)
}
