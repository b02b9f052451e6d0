//! What is wrong with the triggers of an audited table and its partitions.

use std::collections::BTreeSet;

use serde_json::json;

use super::capture::refresh;
use super::finding::{Finding, FindingCode as Code, Severity};
use crate::capture::quote_ident;
use crate::operation::deployed::{Hole, HostTable, Trigger};

/// What escapes capture of table `id` at one of its members, the table itself or a partition.
pub(super) fn holes(member: &HostTable, table: &HostTable, id: i32) -> Vec<Finding> {
    let is_partition = member.oid != table.oid;
    let of =
        if is_partition { format!(" (a partition of `{}`)", table.name.to_plain()) } else { String::new() };
    let holes = member.holes(id).into_iter().map(|hole| {
        let message = format!("{hole}{of}");
        let (code, fix) = match &hole {
            Hole::Missing { .. } if is_partition => (Code::PartitionUncovered, refresh(&table.name)),
            Hole::Missing { .. } => (Code::TriggerMissing, refresh(&table.name)),
            Hole::Disabled { trigger, .. } => (
                Code::TriggerDisabled,
                format!("ALTER TABLE {} ENABLE TRIGGER {};", member.name.to_sql(), quote_ident(trigger)),
            ),
            Hole::Altered { trigger } => (Code::TriggerAltered, replace(member, table, trigger, id)),
        };
        let details = match hole {
            Hole::Missing { truncate } => json!({ "truncate": truncate }),
            Hole::Disabled { trigger, replica_only } => {
                json!({ "trigger": trigger, "replica_only": replica_only })
            }
            Hole::Altered { trigger } => json!({ "trigger": trigger }),
        };
        Finding::new(code, Severity::Error, message).on(&member.name).fix(fix).details(details)
    });
    holes.collect()
}

/// Takes an altered trigger away and has the right one written, in one transaction: no write goes unseen meanwhile.
fn replace(member: &HostTable, table: &HostTable, trigger: &str, id: i32) -> String {
    let is_row = member.triggers.iter().any(|t| t.name == trigger && t.captures() == Some(id));
    // The row trigger of a partition is PostgreSQL's copy of the table's.
    let carrier = if is_row { table } else { member };
    format!(
        "BEGIN;\nDROP TRIGGER {} ON {};\n{}\nCOMMIT;",
        quote_ident(trigger),
        carrier.name.to_sql(),
        refresh(&table.name)
    )
}

/// Triggers that capture well under another name than their own: functions look for it, and it has them fire first.
pub(super) fn renamed(member: &HostTable, id: i32) -> Vec<Finding> {
    let ours: Vec<_> = member
        .triggers
        .iter()
        .filter(|trigger| trigger.captures() == Some(id) || trigger.truncates() == Some(id))
        .collect();
    let renamed = ours.iter().filter(|trigger| !trigger.is_clone).filter(|trigger| {
        !ours.iter().any(|other| {
            other.name == trigger.given_name() && other.captures().is_some() == trigger.captures().is_some()
        })
    });
    let mut given = BTreeSet::new();
    let findings = renamed.filter(|trigger| given.insert(trigger.given_name())).map(|trigger| {
        let name = trigger.given_name();
        Finding::new(
            Code::TriggerAltered,
            Severity::Error,
            format!("trigger `{name}` was renamed to `{}`", trigger.name),
        )
        .on(&member.name)
        .fix(format!(
            "ALTER TRIGGER {} ON {} RENAME TO {};",
            quote_ident(&trigger.name),
            member.name.to_sql(),
            quote_ident(name)
        ))
        .details(json!({ "trigger": trigger.name }))
    });
    findings.collect()
}

/// Triggers beyond the one of each kind, and those of other tables.
pub(super) fn needless(member: &HostTable, id: i32) -> Vec<Finding> {
    let mut findings = Vec::new();
    for is_row in [true, false] {
        let of = |trigger: &&Trigger| {
            if is_row { trigger.captures() } else { trigger.truncates() }
        };
        let own: Vec<_> = member.triggers.iter().filter(|trigger| of(trigger) == Some(id)).collect();
        // The clone cannot be dropped, the one of the given name is what functions look for.
        let kept = own
            .iter()
            .enumerate()
            .min_by_key(|(_, trigger)| (!trigger.is_clone, trigger.name != trigger.given_name()))
            .map(|(place, _)| place);
        for (_, trigger) in own.iter().enumerate().filter(|(place, _)| Some(*place) != kept) {
            let message = format!("trigger `{}` captures what another one captures already", trigger.name);
            findings.push((Code::DuplicateTrigger, message, &trigger.name));
        }
        let foreign = member.triggers.iter().filter(|trigger| of(trigger).is_some_and(|other| other != id));
        for trigger in foreign.filter(|trigger| !trigger.is_clone) {
            let message = format!("trigger `{}` calls what captures another table", trigger.name);
            findings.push((Code::SharedFunction, message, &trigger.name));
        }
    }
    let findings = findings.into_iter().map(|(code, message, trigger)| {
        Finding::new(code, Severity::Error, message)
            .on(&member.name)
            .fix(format!("DROP TRIGGER {} ON {};", quote_ident(trigger), member.name.to_sql()))
            .details(json!({ "trigger": trigger }))
    });
    findings.collect()
}
