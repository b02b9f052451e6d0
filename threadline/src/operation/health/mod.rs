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
mod coverage;
mod finding;
mod holds;
mod partitions;
mod recent;
mod schema;
mod shipped;

use std::collections::HashSet;
use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::json;

pub(crate) use self::coverage::{Decisions, of_deployed};
pub use self::coverage::{CoverageOptions, CoverageStatus, Ignored, PartitionCoverage, TableCoverage, coverage};
pub use self::finding::{Finding, FindingCode, Severity};
pub(crate) use self::finding::sort;
use crate::capture::{TableName, quote_ident};
use crate::error::Error;
use crate::investigation::{Statement, in_one_snapshot};
use crate::operation::deployed::{Deployed, Unanswered, attempt, resolve};

/// What [`findings`] looks at, and how long.
///
/// The default makes every check: those that read the catalogs, and those that read changes, which are bounded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthOptions {
    pub(crate) coverage: CoverageOptions,
    pub(crate) expected: Vec<TableName>,
    pub(crate) actors: bool,
    pub(crate) orphans: bool,
    pub(crate) gaps: bool,
    pub(crate) recent: Duration,
    pub(crate) recent_rows: u32,
    pub(crate) gap_rows: u32,
    pub(crate) gap_time: Duration,
    pub(crate) feed_hold: Duration,
    pub(crate) statement_timeout: Duration,
}

impl Default for HealthOptions {
    fn default() -> Self {
        Self {
            coverage: CoverageOptions::default(),
            expected: Vec::new(),
            actors: true,
            orphans: true,
            gaps: true,
            recent: Duration::from_secs(24 * 60 * 60),
            recent_rows: 10_000,
            gap_rows: 100,
            gap_time: Duration::from_secs(2),
            feed_hold: Duration::from_secs(60 * 60),
            statement_timeout: Duration::from_secs(5),
        }
    }
}

impl HealthOptions {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Only the checks that read catalogs, and no change.
    pub fn catalog_only() -> Self {
        Self::default().check_actors(false).check_orphans(false).check_gaps(false)
    }

    /// Which schemas to look at, and which tables are not to be audited.
    #[must_use]
    pub fn coverage(mut self, coverage: CoverageOptions) -> Self {
        self.coverage = coverage;
        self
    }

    /// A table that has to be audited; without a schema, the one the search path finds.
    #[must_use]
    pub fn expect(mut self, table: TableName) -> Self {
        self.expected.push(table);
        self
    }

    /// Whether to count recent changes without an actor.
    #[must_use]
    pub fn check_actors(mut self, check: bool) -> Self {
        self.actors = check;
        self
    }

    /// Whether to look for recent changes without a transaction.
    #[must_use]
    pub fn check_orphans(mut self, check: bool) -> Self {
        self.orphans = check;
        self
    }

    /// Whether to fold rows changed lately and look for writes that escaped capture.
    #[must_use]
    pub fn check_gaps(mut self, check: bool) -> Self {
        self.gaps = check;
        self
    }

    /// How far back changes are recent; a day. Whole seconds.
    #[must_use]
    pub fn recent(mut self, recent: Duration) -> Self {
        self.recent = recent;
        self
    }

    /// How many of the recent transactions, or changes, are read at most, the newest; 10,000.
    #[must_use]
    pub fn recent_rows(mut self, rows: u32) -> Self {
        self.recent_rows = rows;
        self
    }

    /// How many rows are folded at most, those changed last; 100.
    #[must_use]
    pub fn gap_rows(mut self, rows: u32) -> Self {
        self.gap_rows = rows;
        self
    }

    /// How long to fold rows; two seconds. Those that are left are not looked at.
    #[must_use]
    pub fn gap_time(mut self, time: Duration) -> Self {
        self.gap_time = time;
        self
    }

    /// How long a transaction may hold the feed back; an hour.
    #[must_use]
    pub fn feed_hold(mut self, hold: Duration) -> Self {
        self.feed_hold = hold;
        self
    }

    /// How long one statement may take; five seconds. A check that is not over then is reported as not made.
    #[must_use]
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    pub(crate) fn recent_seconds(&self) -> i32 {
        self.recent.as_secs().min(i32::MAX as u64) as i32
    }
}

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
    in_one_snapshot(conn, |conn| {
        let decisions = Decisions::resolve(conn, &options.coverage)?;
        let expected = resolve(conn, &options.expected)?;
        let deployed = Deployed::load(conn)?;
        let expected: HashSet<i64> = expected.into_values().collect();
        let mut findings = of(conn, &deployed, options, &decisions, &expected)?;
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
    let mut checks = Checks { role: role(conn)?, timeout: options.statement_timeout, findings: Vec::new() };
    if let Err(unanswered) = &deployed.audited {
        checks.could_not(Check::POLICIES, unanswered);
    }
    checks.run(conn, Check::CAPTURE, |conn| capture::findings(conn, deployed, options, decisions, expected))?;
    checks.run(conn, Check::SCHEMA, |conn| schema::findings(conn, deployed))?;
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
    if options.actors && deployed.audited.is_ok() {
        checks.run(conn, Check::ACTORS, |conn| recent::actorless(conn, deployed, options))?;
    }
    if options.orphans {
        checks.run(conn, Check::ORPHANS, |conn| recent::orphans(conn, options))?;
    }
    if options.gaps && deployed.audited.is_ok() {
        checks.gaps(conn, deployed, options)?;
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

/// A check by its name, and the tables of the trail it reads.
#[derive(Clone, Copy)]
struct Check {
    name: &'static str,
    reads: &'static [&'static str],
}

impl Check {
    const POLICIES: Self = Self { name: "policies", reads: &["audited_tables", "table_layouts"] };
    const CAPTURE: Self = Self { name: "capture", reads: &["audited_tables", "table_layouts"] };
    const SCHEMA: Self = Self { name: "schema", reads: &[] };
    const PARTITIONS: Self = Self { name: "partitions", reads: &[] };
    const GRANTS: Self = Self { name: "grants", reads: &[] };
    const OWNERS: Self = Self { name: "owners", reads: &[] };
    const SETTINGS: Self = Self { name: "settings", reads: &[] };
    const CLUSTER: Self = Self { name: "cluster", reads: &["trail_clusters"] };
    const TRANSACTIONS: Self = Self { name: "transactions", reads: &[] };
    const ACTORS: Self = Self { name: "actors", reads: &["audit_transactions", "audit_changes"] };
    const ORPHANS: Self = Self { name: "orphans", reads: &["audit_transactions", "audit_changes"] };
    const GAPS: Self = Self {
        name: "gaps",
        reads: &[
            "audited_tables", "table_layouts", "capture_periods", "audit_transactions", "audit_actions", "audit_changes",
            "audit_key_changes", "known_gaps",
        ],
    };
}

/// The checks made so far.
struct Checks {
    /// The asking role, quoted.
    role: String,
    timeout: Duration,
    findings: Vec<Finding>,
}

impl Checks {
    fn run(
        &mut self,
        conn: &mut PgConnection,
        check: Check,
        find: impl FnOnce(&mut PgConnection) -> Result<Vec<Finding>, Error>,
    ) -> Result<(), Error> {
        match attempt(conn, Some(self.timeout), find)? {
            Ok(findings) => self.findings.extend(findings),
            Err(unanswered) => self.could_not(check, &unanswered),
        }
        Ok(())
    }

    fn could_not(&mut self, check: Check, unanswered: &Unanswered) {
        let tables: Vec<String> = check.reads.iter().map(|table| format!("threadline.{table}")).collect();
        let fix = if unanswered.reason.contains("timeout") {
            "-- ask again with a longer `statement_timeout` than this one".to_owned()
        } else if tables.is_empty() {
            "-- ask again as the owner of schema `threadline`".to_owned()
        } else {
            format!("GRANT SELECT ON {} TO {};", tables.join(", "), self.role)
        };
        let finding = Finding::new(
            FindingCode::CouldNotCheck,
            Severity::Warning,
            format!("check `{}` could not be made: {}", check.name, unanswered.reason),
        );
        self.findings.push(finding.fix(fix).details(json!({ "check": check.name })));
    }

    fn hidden_sessions(&mut self) {
        let finding = Finding::new(
            FindingCode::CouldNotCheck,
            Severity::Warning,
            "check `transactions` could not be made: other roles' sessions are not this role's to see",
        );
        self.findings.push(
            finding
                .fix(format!("GRANT pg_read_all_stats TO {};", self.role))
                .details(json!({ "check": Check::TRANSACTIONS.name })),
        );
    }

    fn gaps(
        &mut self,
        conn: &mut PgConnection,
        deployed: &Deployed,
        options: &HealthOptions,
    ) -> Result<(), Error> {
        let isolation = one_text(conn, "SELECT current_setting('transaction_isolation') AS text")?;
        if isolation == "read committed" || isolation == "read uncommitted" {
            let finding = Finding::new(
                FindingCode::CouldNotCheck,
                Severity::Warning,
                "check `gaps` could not be made: in this transaction each statement sees rows of another moment",
            );
            self.findings.push(
                finding
                    .fix("-- ask outside of a transaction, or in one that is REPEATABLE READ")
                    .details(json!({ "check": Check::GAPS.name })),
            );
            return Ok(());
        }
        let mut unseen = Vec::new();
        self.run(conn, Check::GAPS, |conn| {
            let (findings, unanswered) = recent::gaps(conn, deployed, options)?;
            unseen = unanswered;
            Ok(findings)
        })?;
        for (table, unanswered) in unseen {
            // A role that reads its own tables may still lack the trail's.
            let tables: Vec<String> = std::iter::once(table.to_sql())
                .chain(Check::GAPS.reads.iter().map(|read| format!("threadline.{read}")))
                .collect();
            let finding = Finding::new(
                FindingCode::CouldNotCheck,
                Severity::Warning,
                format!("check `gaps` could not be made: {}", unanswered.reason),
            );
            self.findings.push(
                finding
                    .on(&table)
                    .fix(format!("GRANT SELECT ON {} TO {};", tables.join(", "), self.role))
                    .details(json!({ "check": Check::GAPS.name })),
            );
        }
        Ok(())
    }
}

fn role(conn: &mut PgConnection) -> Result<String, Error> {
    Ok(quote_ident(&one_text(conn, "SELECT current_user::text AS text")?))
}

fn one_text(conn: &mut PgConnection, sql: &str) -> Result<String, Error> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Text)]
        text: String,
    }
    let rows: Vec<Row> = Statement::new(sql).load_from(conn)?;
    Ok(rows.into_iter().next().map(|row| row.text).unwrap_or_default())
}

