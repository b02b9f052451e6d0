//! What the application says it is doing.

use std::fmt;

use diesel::deserialize::{self, FromSql, FromSqlRow};
use diesel::pg::{Pg, PgValue};
use diesel::sql_types::Text;
use serde::{Deserialize, Serialize};

use super::context::{TextKind, text_problem};

/// How an action ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, FromSqlRow)]
#[serde(rename_all = "snake_case")]
pub enum ActionStatus {
    /// It was done.
    #[default]
    Ok,
    /// It was tried, and failed.
    Error,
}

/// As `audit_actions` has it.
impl FromSql<Text, Pg> for ActionStatus {
    fn from_sql(bytes: PgValue<'_>) -> deserialize::Result<Self> {
        match <String as FromSql<Text, Pg>>::from_sql(bytes)?.as_str() {
            "ok" => Ok(Self::Ok),
            "error" => Ok(Self::Error),
            _ => Err("an action's status is neither ok nor error".into()),
        }
    }
}

impl ActionStatus {
    /// `ok` or `error`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

impl fmt::Display for ActionStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// What the application says it is doing, such as `post.published`.
///
/// The name takes 1 to 256 bytes; verb and category up to 256; reason and comment up to 4,096. Control characters are
/// refused, but for line breaks and tabs in reason and comment. All is checked when the action is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[must_use]
pub struct Action {
    name: String,
    status: ActionStatus,
    #[serde(skip_serializing_if = "Option::is_none")]
    verb: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    category: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

impl Action {
    /// The action of this name, done.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            status: ActionStatus::Ok,
            verb: None,
            category: None,
            reason: None,
            comment: None,
        }
    }

    /// What was done, in one word.
    pub fn verb(self, verb: impl Into<String>) -> Self {
        Self { verb: Some(verb.into()), ..self }
    }

    /// The application's own grouping of actions.
    pub fn category(self, category: impl Into<String>) -> Self {
        Self { category: Some(category.into()), ..self }
    }

    /// Why it is done. Keep it free of row data: redaction does not reach it.
    pub fn reason(self, reason: impl Into<String>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// A remark for the reader. Keep it free of row data: redaction does not reach it.
    pub fn comment(self, comment: impl Into<String>) -> Self {
        Self { comment: Some(comment.into()), ..self }
    }

    /// The same action, tried and failed for this reason.
    pub fn failed(self, reason: impl Into<String>) -> Self {
        Self { status: ActionStatus::Error, ..self }.reason(reason)
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn status(&self) -> ActionStatus {
        self.status
    }

    pub(super) fn problems(&self) -> Vec<String> {
        use TextKind::{Name, Prose};
        let fields = [
            ("action name", Some(&self.name), Name),
            ("action verb", self.verb.as_ref(), Name),
            ("action category", self.category.as_ref(), Name),
            ("action reason", self.reason.as_ref(), Prose),
            ("action comment", self.comment.as_ref(), Prose),
        ];
        fields
            .into_iter()
            .filter_map(|(field, text, kind)| Some(format!("{field}: {}", text_problem(text?, kind)?)))
            .collect()
    }
}
