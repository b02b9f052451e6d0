//! What evidence is about, how it went, and what it supports.

use std::fmt;
use std::str::FromStr;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};

use super::record::InvalidEvidence;

/// A type with a closed list of values, stored by their names.
macro_rules! named {
    ($type:ident, $what:literal, { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $type {
            /// All there are, in their order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// As it is stored.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name),+
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $type {
            type Err = InvalidEvidence;

            fn from_str(text: &str) -> Result<Self, InvalidEvidence> {
                Self::ALL.iter().copied().find(|value| value.as_str() == text).ok_or_else(|| {
                    let names: Vec<_> = Self::ALL.iter().map(|value| value.as_str()).collect();
                    InvalidEvidence::one(format!("{}: is not one of {}", $what, names.join(", ")))
                })
            }
        }

        impl FromSql<Text, Pg> for $type {
            fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
                Ok(<String as FromSql<Text, Pg>>::from_sql(bytes)?.parse::<Self>()?)
            }
        }
    };
}

/// What a record of evidence is about. There are no others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, FromSqlRow)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// Which columns of a table are left out or masked. A posture.
    RedactionPolicy,
    /// Whether tables are captured. Checked against the catalog, and therefore proven for the instant of the check.
    TriggerCoverage,
    /// A run of retention: what it removed, and whether it ended well.
    RetentionRun,
    /// How long what is kept. A posture.
    RetentionPolicy,
    /// An export that was handed over.
    ExportDelivery,
    /// What support or another operator may see of the trail. A posture.
    SupportScopePosture,
    /// A legal hold that was placed or lifted.
    LegalHold,
    /// A baseline of a table that was recorded.
    RecordedBaseline,
}

named!(Subject, "subject", {
    RedactionPolicy => "redaction_policy",
    TriggerCoverage => "trigger_coverage",
    RetentionRun => "retention_run",
    RetentionPolicy => "retention_policy",
    ExportDelivery => "export_delivery",
    SupportScopePosture => "support_scope_posture",
    LegalHold => "legal_hold",
    RecordedBaseline => "recorded_baseline",
});

impl Subject {
    /// Whether its records say how something was set, and not what happened: from that it is only inferred what happened.
    pub const fn is_posture(self) -> bool {
        matches!(self, Self::RedactionPolicy | Self::RetentionPolicy | Self::SupportScopePosture)
    }

    /// Whether its records are of events, which need never have happened; all else there always is, checked or not.
    pub const fn is_event(self) -> bool {
        matches!(self, Self::RetentionRun | Self::ExportDelivery | Self::LegalHold | Self::RecordedBaseline)
    }

    /// The best a record of it can support.
    pub const fn verdict(self) -> Verdict {
        if self.is_posture() { Verdict::Inferred } else { Verdict::Proven }
    }

    /// Whether any role may record it.
    pub(super) const fn is_of_the_application(self) -> bool {
        matches!(self, Self::ExportDelivery | Self::SupportScopePosture)
    }
}

/// Who stands behind a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, FromSqlRow)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// A role that was granted to operate the trail: it has EXECUTE on `threadline.record_evidence(jsonb)`.
    Operation,
    /// Any role there is. What it says of who asked and of what was done is its own word.
    Application,
}

named!(Source, "source", { Operation => "operation", Application => "application" });

/// How what a record is about went.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, FromSqlRow,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// As it should.
    #[default]
    Ok,
    /// Something is not as it should be.
    Finding,
    /// What was to be done failed. That it failed is as proven as that it succeeded.
    Error,
}

named!(Status, "status", { Ok => "ok", Finding => "finding", Error => "error" });

/// What a record supports, from best to worst; the worst of several is what they support together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, FromSqlRow)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// A fact that was established directly.
    Proven,
    /// It follows from how something was set when it was looked at.
    Inferred,
    /// It cannot be shown.
    Unsupported,
}

named!(Verdict, "verdict", { Proven => "proven", Inferred => "inferred", Unsupported => "unsupported" });
