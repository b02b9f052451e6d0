//! What a finding is.

use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::capture::TableName;

/// How much it matters. Ordered: the worst is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Changes escape the trail or can be forged, or will before long.
    Error,
    /// Worth acting on, while the trail is still right.
    Warning,
    /// Good to know.
    Info,
}

impl Severity {
    /// As it is serialized.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Info => "info",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! finding_codes {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// What was found. The names are stable: they do not change from release to release.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum FindingCode {
            $($(#[doc = $doc])* $variant,)*
        }

        impl FindingCode {
            /// Every code there is.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// Its stable name, in snake case.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

finding_codes! {
    /// A table is neither audited nor ignored; an error when it is expected to be audited.
    UncoveredTable = "uncovered_table",
    /// A table that is expected, ignored or has a window of its own does not exist: its name is misspelt, or it was dropped.
    UnknownTable = "unknown_table",
    /// An action that has a window of its own is not on record: its name is misspelt, or it was never recorded; a warning where one
    /// of a similar name is.
    UnknownAction = "unknown_action",
    /// An attached table has lost its row or TRUNCATE trigger.
    TriggerMissing = "trigger_missing",
    /// A partition of an attached table has no row or TRUNCATE trigger.
    PartitionUncovered = "partition_uncovered",
    /// A trigger is disabled, or fires on replicas only.
    TriggerDisabled = "trigger_disabled",
    /// A trigger was given another name, or fires for a part of the writes only.
    TriggerAltered = "trigger_altered",
    /// A table has more than one trigger for the same capture, which records each change as often.
    DuplicateTrigger = "duplicate_trigger",
    /// A trigger calls the capture function of another table, which fails its writes.
    SharedFunction = "shared_function",
    /// A capture function is not what was compiled from the table's policy.
    FunctionAltered = "function_altered",
    /// The table's columns have changed since its capture function was compiled.
    StaleFunction = "stale_function",
    /// The policy names a column the table no longer has.
    PolicyColumnGone = "policy_column_gone",
    /// The table is another relation than its capture was compiled for: it was restored or made anew.
    RelationChanged = "relation_changed",
    /// The columns of the row key no longer have a constraint that makes them one.
    KeyDrift = "key_drift",
    /// An attached table was dropped.
    TableGone = "table_gone",
    /// Detaching a partition was interrupted.
    DetachPending = "detach_pending",
    /// Migrations of the audit schema have not run.
    SchemaBehind = "schema_behind",
    /// A function, table or type of the audit schema is missing or not as shipped, or another one of its name stands beside it.
    SchemaAltered = "schema_altered",
    /// An index of the audit schema is missing or invalid.
    MissingIndex = "missing_index",
    /// A trigger on a table of the trail is none that ships; or one that guards it is missing, altered or does not always fire.
    TrailTrigger = "trail_trigger",
    /// A rule rewrites statements on a table of the trail.
    TrailRule = "trail_rule",
    /// A table of the trail has row-level security or policies, which hide rows from readers.
    TrailRowSecurity = "trail_row_security",
    /// A foreign key or unique index that does not ship refuses or removes rows of the trail.
    TrailConstraint = "trail_constraint",
    /// A table or type of the trail belongs to another role than its schema.
    TrailOwner = "trail_owner",
    /// A table of the trail is unlogged: a crash empties it.
    TrailUnlogged = "trail_unlogged",
    /// A partition of the trail lies elsewhere, or rows of another table are read with it; or a table in its schema is none of it.
    TrailMisplaced = "trail_misplaced",
    /// There is no partition for some instant from now on, so audited writes then fail.
    PartitionMissing = "partition_missing",
    /// Partitions are made for less than a month ahead.
    PartitionRunwayShort = "partition_runway_short",
    /// A role other than the owner of the audit schema may write the trail.
    AuditWritable = "audit_writable",
    /// A role that can log in owns the audit schema and host tables too, or can become its owner.
    AuditOwnerCanLogIn = "audit_owner_can_log_in",
    /// A setting switches capture off or says who acts, for a whole role, database, server or function, or lets a crash lose data; or
    /// a role may switch capture off.
    DangerousSetting = "dangerous_setting",
    /// The trail was restored into another cluster, and the feed does not know.
    TrailMoved = "trail_moved",
    /// A transaction that has been open for long holds the feed back.
    FeedHeldBack = "feed_held_back",
    /// Recent changes have no actor.
    ActorlessChanges = "actorless_changes",
    /// Recent changes have no transaction: whoever wrote them forged settings.
    OrphanChanges = "orphan_changes",
    /// A write to a row escaped capture.
    Gap = "gap",
    /// A check could not be made; what it would have found is unknown.
    CouldNotCheck = "could_not_check",
}

impl fmt::Display for FindingCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for FindingCode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Something to act on, and how. It holds names and counts, and no value of a row but the keys of rows that a write escaped in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What was found.
    pub code: FindingCode,
    /// How much it matters.
    pub severity: Severity,
    /// The schema of the table it is about, if it is about one.
    pub schema: Option<String>,
    /// The table it is about, as it is spelt in the database.
    pub table: Option<String>,
    /// What is wrong, in one sentence.
    pub message: String,
    /// The SQL or the command that mends it, as a whole; to be run by the owner of the audit schema. Where it takes a
    /// decision, the message says so.
    pub fix: String,
    /// The facts behind it.
    pub details: Value,
}

impl Finding {
    pub(crate) fn new(code: FindingCode, severity: Severity, message: impl Into<String>) -> Self {
        Self {
            code,
            severity,
            schema: None,
            table: None,
            message: message.into(),
            fix: String::new(),
            details: Value::Object(serde_json::Map::new()),
        }
    }

    pub(crate) fn on(mut self, table: &TableName) -> Self {
        self.schema = table.schema().map(str::to_owned);
        self.table = Some(table.name().to_owned());
        self
    }

    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = fix.into();
        self
    }

    pub(crate) fn details(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// The table it is about.
    pub fn table_name(&self) -> Option<TableName> {
        self.table.as_deref().map(|table| TableName::new(self.schema.as_deref(), table))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.severity, self.code)?;
        if let Some(table) = self.table_name() {
            write!(f, " {}", table.to_plain())?;
        }
        write!(f, ": {}", self.message)?;
        if !self.fix.is_empty() {
            write!(f, "\n  fix: {}", self.fix.replace('\n', "\n       "))?;
        }
        Ok(())
    }
}

/// The worst first, then by table and code.
pub(crate) fn sort(findings: &mut [Finding]) {
    findings.sort_by(|a, b| {
        let key = |finding: &Finding| {
            (finding.severity, finding.schema.clone(), finding.table.clone(), finding.code)
        };
        key(a).cmp(&key(b)).then_with(|| a.message.cmp(&b.message))
    });
}
