//! The checks, each made by itself: one that cannot be made is a finding, and the others go on.

use std::time::Duration;

use diesel::prelude::*;
use diesel::sql_types::Text;
use serde_json::json;

use super::finding::{Finding, FindingCode, Severity};
use super::{HealthOptions, recent};
use crate::capture::quote_ident;
use crate::error::Error;
use crate::investigation::Statement;
use crate::operation::deployed::{Deployed, Unanswered, attempt};

/// A check by its name, and the tables of the trail it reads.
#[derive(Clone, Copy, Debug)]
pub(super) struct Check {
    name: &'static str,
    reads: &'static [&'static str],
}

impl Check {
    pub(super) const POLICIES: Self = Self { name: "policies", reads: &["audited_tables", "table_layouts"] };
    pub(super) const CAPTURE: Self = Self { name: "capture", reads: &["audited_tables", "table_layouts"] };
    pub(super) const SCHEMA: Self = Self { name: "schema", reads: &[] };
    pub(super) const TRAIL: Self = Self { name: "trail", reads: &[] };
    pub(super) const PARTITIONS: Self = Self { name: "partitions", reads: &[] };
    pub(super) const GRANTS: Self = Self { name: "grants", reads: &[] };
    pub(super) const OWNERS: Self = Self { name: "owners", reads: &[] };
    pub(super) const SETTINGS: Self = Self { name: "settings", reads: &[] };
    pub(super) const CLUSTER: Self = Self { name: "cluster", reads: &["trail_clusters"] };
    pub(super) const TRANSACTIONS: Self = Self { name: "transactions", reads: &[] };
    pub(super) const ACTORS: Self = Self { name: "actors", reads: &["audit_transactions", "audit_changes"] };
    pub(super) const ACTIONS: Self = Self { name: "actions", reads: &["audit_actions"] };
    pub(super) const ORPHANS: Self =
        Self { name: "orphans", reads: &["audit_transactions", "audit_changes"] };
    pub(super) const GAPS: Self = Self {
        name: "gaps",
        reads: &[
            "audited_tables",
            "table_layouts",
            "redacted_columns",
            "capture_periods",
            "audit_transactions",
            "audit_actions",
            "audit_changes",
            "audit_key_changes",
            "known_gaps",
            "audit_baselines",
            "audit_baseline_rows",
            "retention_purges",
        ],
    };
}

/// The checks made so far.
#[derive(Debug)]
pub(super) struct Checks {
    /// The asking role, quoted.
    role: String,
    timeout: Duration,
    pub(super) findings: Vec<Finding>,
}

impl Checks {
    pub(super) fn new(conn: &mut PgConnection, options: &HealthOptions) -> Result<Self, Error> {
        Ok(Self { role: role(conn)?, timeout: options.statement_timeout, findings: Vec::new() })
    }

    pub(super) fn run(
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

    pub(super) fn could_not(&mut self, check: Check, unanswered: &Unanswered) {
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

    pub(super) fn hidden_sessions(&mut self) {
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

    pub(super) fn gaps(
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
            let (findings, tables) = recent::gaps(conn, deployed, options)?;
            unseen = tables;
            Ok(findings)
        })?;
        for recent::Unseen { table, reason } in unseen {
            // A role that reads its own tables may still lack the trail's.
            let tables: Vec<String> = std::iter::once(table.to_sql())
                .chain(Check::GAPS.reads.iter().map(|read| format!("threadline.{read}")))
                .collect();
            let finding = Finding::new(
                FindingCode::CouldNotCheck,
                Severity::Warning,
                format!("check `gaps` could not be made: {reason}"),
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
