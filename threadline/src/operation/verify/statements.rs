//! One statement for each table, that mends all that is wrong with its policy. `threadline.attach` sets a policy as a whole, so two
//! statements made for one finding each would undo each other's option.

use std::collections::HashMap;

use super::report::{Rule, Violation};
use crate::capture::{AuditSpec, TableName};
use crate::health::{self, Finding, FindingCode};
use crate::operation::deployed::{Deployed, HostTable};
use crate::policy::{Declared, PolicyState, TablePolicy};

/// What is deployed and declared of every table.
pub(super) struct Statements<'a> {
    deployed: &'a Deployed,
    declared: HashMap<i64, &'a AuditSpec<'a>>,
    /// The scope column that is asked for, by relation.
    scopes: &'a HashMap<i64, String>,
}

impl<'a> Statements<'a> {
    pub(super) fn new(
        deployed: &'a Deployed,
        declared: &'a [Declared<'a>],
        relations: &HashMap<TableName, i64>,
        scopes: &'a HashMap<i64, String>,
    ) -> Self {
        let declared = declared
            .iter()
            .filter_map(|declared| Some((*relations.get(&declared.table)?, &declared.spec)))
            .collect();
        Self { deployed, declared, scopes }
    }

    /// The policy of a table as it is declared, else as it is or was deployed, with the scope it has to have.
    fn attach(&self, table: &HostTable) -> String {
        let scope = self.scopes.get(&table.oid).map(String::as_str);
        match (self.declared.get(&table.oid), self.deployed.policy(table)) {
            (Some(spec), _) => AuditSpec { scope: scope.or(spec.scope), ..**spec }.attach_sql(&table.name),
            (None, Some(policy)) => policy.attach_sql(&table.name, scope),
            (None, None) => health::attach_undeclared(self.deployed, table, scope),
        }
    }

    fn table(&self, name: &TableName) -> Option<&HostTable> {
        self.deployed.roots().find(|table| table.name == *name)
    }

    /// Whether a statement is wanted that sets the whole policy of the table: what is declared or asked for is not deployed.
    fn is_wanted(&self, table: &HostTable) -> bool {
        let Some(policy) = self.deployed.policy(table) else { return true };
        let scope = self.scopes.get(&table.oid);
        scope.is_some_and(|scope| policy.scope_column.as_ref() != Some(scope))
            || self.declared.get(&table.oid).is_some_and(|spec| crate::policy::drifts(spec, policy))
    }

    /// The statement for something found of a table; `None` where it has its own, which is no policy.
    fn instead(&self, table: &TableName, sets_policy: bool, fix: &str) -> Option<String> {
        let table = self.table(table)?;
        // What attaches a table with another policy compiles its function anew as well.
        let refreshes = fix == health::refresh(&table.name) && self.is_wanted(table);
        (sets_policy || refreshes).then(|| self.attach(table))
    }

    pub(super) fn mend(&self, violation: &mut Violation) {
        let sets_policy = matches!(violation.rule, Rule::Policy | Rule::Scope)
            || violation.code == Some(FindingCode::UncoveredTable);
        let table = violation.table.as_deref().map(|name| TableName::new(violation.schema.as_deref(), name));
        if let Some(fix) = table.and_then(|table| self.instead(&table, sets_policy, &violation.fix)) {
            violation.fix = fix;
        }
    }

    pub(super) fn mend_finding(&self, finding: &mut Finding) {
        let table = finding.table_name();
        if let Some(fix) = table.and_then(|table| self.instead(&table, false, &finding.fix)) {
            finding.fix = fix;
        }
    }

    pub(super) fn mend_policy(&self, policy: &mut TablePolicy) {
        let sets_policy = policy.declared_by.is_some() && policy.state != PolicyState::Matches;
        if let Some(fix) = self.instead(&policy.table, sets_policy, &policy.fix) {
            policy.fix = fix;
        }
    }
}
