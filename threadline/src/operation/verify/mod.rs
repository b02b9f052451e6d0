//! Verify: the gate for CI and for the host's own tests. Every table is decided, audited as declared, and nothing is wrong.
//!
//! In a test of the host's, after its migrations have run:
//!
//! ```no_run
//! # use diesel::prelude::*;
//! # fn migrated_database() -> PgConnection { PgConnection::establish("postgres://localhost/blog").unwrap() }
//! #[test]
//! fn every_table_is_audited_or_deliberately_not() {
//!     threadline::verify::assert_audited(&mut migrated_database());
//! }
//! ```

mod report;
mod statements;

use std::collections::{HashMap, HashSet};

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text};

pub use self::report::{Rule, VerifyReport, Violation};
use self::statements::Statements;
use crate::capture::TableName;
use crate::error::Error;
use crate::health::{self, CoverageOptions, Decisions, FindingCode, HealthOptions, Severity, Unknown};
use crate::intent::Actor;
use crate::investigation::{Statement, in_one_snapshot};
use crate::operation::deployed::{Deployed, HostTable, resolve};
use crate::operation::evidence::Recorded;
use crate::policy::{self, Declared, PolicyState};

/// What has to hold. The default expects every model the program was linked with, and no other table.
#[derive(Clone, Debug, Default)]
pub struct Expected<'a> {
    declared: Option<Vec<Declared<'a>>>,
    tables: Vec<TableName>,
    named: Vec<(TableName, String)>,
    coverage: CoverageOptions,
    scope_column: Option<String>,
}

impl<'a> Expected<'a> {
    /// The default.
    pub fn new() -> Self {
        Self::default()
    }

    /// Expects what is declared here instead of what the linked models declare: for who reads the source, or has no models.
    #[must_use]
    pub fn declared(mut self, declared: Vec<Declared<'a>>) -> Self {
        self.declared = Some(declared);
        self
    }

    /// A table that has to be audited beyond what the models ask for, with whatever policy.
    #[must_use]
    pub fn expect(mut self, table: TableName) -> Self {
        self.tables.push(table);
        self
    }

    /// A table that is named somewhere, and should be one there is, or one that was audited; `place` goes on after "though", as
    /// "`[retention] tables` has a window for it".
    #[must_use]
    pub fn named(mut self, table: TableName, place: impl Into<String>) -> Self {
        self.named.push((table, place.into()));
        self
    }

    /// A table that is not to be audited, and why.
    #[must_use]
    pub fn ignore(mut self, table: TableName, reason: impl Into<String>) -> Self {
        self.coverage = self.coverage.ignore(table, reason);
        self
    }

    /// Looks at this schema alone, or at this one too when called again; without it at all of the host's.
    #[must_use]
    pub fn schema(mut self, schema: impl Into<String>) -> Self {
        self.coverage = self.coverage.schema(schema);
        self
    }

    /// Every audited table that has a column of this name has to declare it as its scope.
    #[must_use]
    pub fn scope_column(mut self, column: impl Into<String>) -> Self {
        self.scope_column = Some(column.into());
        self
    }
}

/// Whether everything holds; the report says what does not.
///
/// It asks the catalogs and the policies, no change: of a thousand tables in less than a second or two. What could not be
/// checked is a violation too, because nothing vouches for it; so let it be run by a role that may read `audited_tables`,
/// `table_layouts` and `trail_clusters`.
///
/// # Errors
///
/// [`Error::SchemaMissing`], [`Error::PolicyContradiction`], [`Error::SchemaContradiction`], and others of the database.
pub fn verify(conn: &mut PgConnection, expected: &Expected<'_>) -> Result<VerifyReport, Error> {
    let models;
    let declared: &[Declared<'_>] = match &expected.declared {
        Some(declared) => declared,
        None => {
            models = policy::declared_models()?;
            &models
        }
    };
    in_one_snapshot(conn, |conn| {
        let names: Vec<TableName> = declared
            .iter()
            .map(|declared| declared.table.clone())
            .chain(expected.tables.iter().cloned())
            .collect();
        let relations = resolve(conn, &names)?;
        let decisions = Decisions::resolve(conn, &expected.coverage)?;
        let loaded = Deployed::load(conn)?;
        let deployed = &loaded;
        let wanted: HashSet<i64> = relations.values().copied().collect();

        let mut violations = names_that_mean_nothing(deployed, &names, &relations, &decisions);
        for Unknown { table, place, renamed_to } in health::unknown_to_the_trail(conn, &expected.named)? {
            let better = renamed_to.map(|name| format!("; it was renamed to `{name}`"));
            let better = better.unwrap_or_else(|| did_you_mean(deployed, table));
            let message = format!("there is no such table, though {place}{better}");
            violations.push(Violation::of_name(table, message));
        }
        violations.extend(contradictions(deployed, &wanted, &decisions));

        let options = HealthOptions::catalog_only().coverage(expected.coverage.clone());
        let mut findings = health::of(conn, deployed, &options, &decisions, &wanted)?;
        health::sort(&mut findings);
        // Where the role sees other sessions or not is no matter of what is deployed.
        let fails = |finding: &health::Finding| match finding.code {
            FindingCode::UncoveredTable => true,
            FindingCode::CouldNotCheck => finding.details["check"] != "transactions",
            _ => finding.severity == Severity::Error,
        };
        let (failing, rest): (Vec<_>, Vec<_>) = findings.into_iter().partition(fails);
        violations.extend(failing.into_iter().map(Violation::from));

        let coverage = health::of_deployed(deployed, &expected.coverage, &decisions);
        let mut policies = Vec::new();
        let mut rest = rest;
        if deployed.audited.is_ok() {
            let having = having_scope_column(conn, expected)?;
            violations.extend(scopes(deployed, expected, &having));
            violations.extend(scope_column_of_none(conn, deployed, expected, &decisions, &having)?);
            let relation = |declared: &Declared<'_>| relations.get(&declared.table).copied();
            let deployed;
            (policies, deployed) = policy::of_deployed(loaded, declared, relation)?;
            // A table that is not attached, or whose function was altered, is told of above.
            let drift = policies.iter().filter(|policy| policy.state == PolicyState::Drift);
            violations.extend(drift.map(Violation::from));
            let whole = Statements::new(&deployed, declared, &relations, &having);
            violations.iter_mut().for_each(|violation| whole.mend(violation));
            rest.iter_mut().for_each(|finding| whole.mend_finding(finding));
            policies.iter_mut().for_each(|policy| whole.mend_policy(policy));
        }
        violations.sort_by(|a, b| {
            (&a.schema, &a.table, a.rule, &a.message).cmp(&(&b.schema, &b.table, b.rule, &b.message))
        });
        Ok(VerifyReport { violations, findings: rest, coverage, policies })
    })
}

/// Records what the report says of redaction and of coverage as [evidence](crate::evidence): verifying writes nothing by itself.
/// As [`policy::record_evidence`] and [`health::record_evidence`] do, in one transaction.
///
/// # Errors
///
/// As [`evidence::record_all`](crate::evidence::record_all); there is no record then.
pub fn record_evidence(
    conn: &mut PgConnection,
    report: &VerifyReport,
    entry_point: &str,
    by: Option<&Actor>,
) -> Result<Vec<Recorded>, Error> {
    conn.transaction(|conn| {
        let mut recorded = policy::record_evidence(conn, &report.policies, entry_point, by)?;
        recorded.extend(health::record_evidence(conn, &report.coverage, entry_point, by)?);
        Ok(recorded)
    })
}

/// Panics with the whole report unless every linked model's table is audited as it declares, every other table is audited
/// too, and nothing is wrong. For the host's own tests; where tables are ignored, use [`assert_expected`].
///
/// # Panics
///
/// That is its purpose; also when the database cannot be asked.
#[track_caller]
pub fn assert_audited(conn: &mut PgConnection) {
    assert_expected(conn, &Expected::new());
}

/// As [`assert_audited`], with what is expected.
///
/// # Panics
///
/// As [`assert_audited`].
#[track_caller]
pub fn assert_expected(conn: &mut PgConnection, expected: &Expected<'_>) {
    match verify(conn, expected) {
        Ok(report) => assert!(report.passed(), "{report}"),
        Err(error) => {
            let mut causes = Vec::new();
            let mut cause: Option<&dyn std::error::Error> = Some(&error);
            while let Some(error) = cause {
                causes.push(error.to_string());
                cause = error.source();
            }
            panic!("the audit could not be verified: {}", causes.join(": "));
        }
    }
}

/// The question that goes with a name that means nothing; empty when no other is near.
fn did_you_mean(deployed: &Deployed, name: &TableName) -> String {
    let near = health::nearest_table(deployed, name);
    near.map(|near| format!("; did you mean `{}`?", near.to_plain())).unwrap_or_default()
}

/// Expected and ignored names have to be those of the host's tables.
fn names_that_mean_nothing(
    deployed: &Deployed,
    names: &[TableName],
    relations: &HashMap<TableName, i64>,
    decisions: &Decisions<'_>,
) -> Vec<Violation> {
    let mut violations = Vec::new();
    let problem = |oid: i64| match deployed.table(oid) {
        None => Some("is no table of the host's".to_owned()),
        Some(table) if table.is_partition => {
            let root = deployed.table(table.root).map(|root| root.name.to_plain()).unwrap_or_default();
            Some(format!("is a partition; name its table, `{root}`"))
        }
        Some(_) => None,
    };
    for name in names {
        let what = match relations.get(name) {
            None => Some(format!("does not exist{}", did_you_mean(deployed, name))),
            Some(oid) => problem(*oid),
        };
        violations.extend(
            what.map(|what| Violation::of_name(name, format!("it is expected to be audited and {what}"))),
        );
    }
    for ignored in &decisions.nameless {
        let message = match did_you_mean(deployed, &ignored.table) {
            near if near.is_empty() => "it is ignored and does not exist; take it off the list".to_owned(),
            near => format!("it is ignored and does not exist{near}"),
        };
        violations.push(Violation::of_name(&ignored.table, message));
    }
    for oid in decisions.relations() {
        if let (Some(what), Some(table)) = (problem(oid), deployed.table(oid)) {
            violations.push(Violation::of_name(&table.name, format!("it is ignored and {what}")));
        }
    }
    violations
}

/// A table cannot be expected and ignored.
fn contradictions(deployed: &Deployed, wanted: &HashSet<i64>, decisions: &Decisions<'_>) -> Vec<Violation> {
    let both = decisions.relations().filter(|oid| wanted.contains(oid)).filter_map(|oid| deployed.table(oid));
    both.map(|table| {
        Violation::of_name(&table.name, "it is expected to be audited and ignored; decide for one".to_owned())
    })
    .collect()
}

/// The name of the scope column of each table that has it, by relation.
fn having_scope_column(
    conn: &mut PgConnection,
    expected: &Expected<'_>,
) -> Result<HashMap<i64, String>, Error> {
    #[derive(QueryableByName)]
    struct Having {
        #[diesel(sql_type = BigInt)]
        relation: i64,
        #[diesel(sql_type = Text)]
        name: String,
    }
    let Some(column) = &expected.scope_column else { return Ok(HashMap::new()) };
    let mut statement = Statement::new(
        "SELECT a.attrelid::bigint AS relation, a.attname::text AS name FROM pg_catalog.pg_attribute a \
         JOIN pg_catalog.pg_class c ON c.oid = a.attrelid AND c.relkind IN ('r', 'p') WHERE a.attname::text = ",
    );
    statement.bind(column).sql(" AND a.attnum > 0 AND NOT a.attisdropped");
    let having: Vec<Having> = statement.load_from(conn)?;
    Ok(having.into_iter().map(|having| (having.relation, having.name)).collect())
}

/// That no table has the column which tables are to declare as their scope: its name is misspelt, and nothing would be asked of
/// any of them.
fn scope_column_of_none(
    conn: &mut PgConnection,
    deployed: &Deployed,
    expected: &Expected<'_>,
    decisions: &Decisions<'_>,
    having: &HashMap<i64, String>,
) -> Result<Option<Violation>, Error> {
    #[derive(QueryableByName)]
    struct Named {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let Some(column) = &expected.scope_column else { return Ok(None) };
    let seen = || deployed.roots().filter(|table| expected.coverage.sees(&table.name));
    let tables: Vec<&HostTable> = seen().filter(|table| decisions.reason(table).is_none()).collect();
    if tables.is_empty() || seen().any(|table| having.contains_key(&table.oid)) {
        return Ok(None);
    }
    let mut statement = Statement::new(
        "SELECT DISTINCT a.attname::text AS name FROM pg_catalog.pg_attribute a WHERE a.attrelid = ANY (",
    );
    statement
        .bind(tables.iter().map(|table| table.oid.to_string()).collect::<Vec<_>>())
        .sql("::text[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped");
    let names: Vec<Named> = statement.load_from(conn)?;
    let names: Vec<String> = names.into_iter().map(|named| named.name).collect();
    Ok(Some(Violation::of_scope_column(column, health::nearest_name(&names, column))))
}

/// Audited tables that have the column everybody's rows are told apart by, and do not declare it.
fn scopes(deployed: &Deployed, expected: &Expected<'_>, having: &HashMap<i64, String>) -> Vec<Violation> {
    let tables = deployed.roots().filter(|table| expected.coverage.sees(&table.name));
    let violations = tables.filter_map(|table| {
        let (column, policy) = (having.get(&table.oid)?, deployed.policy(table)?);
        (policy.scope_column.as_deref() != Some(column))
            .then(|| Violation::of_scope(&table.name, column, policy.scope_column.as_deref()))
    });
    violations.collect()
}
