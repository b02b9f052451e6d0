//! A scope as it is stored, for what reads later on behalf of somebody who asks now.
//!
//! What is read back is the scope that was written, or nothing at all: a form with anything in it that this version does not
//! know is refused, because a rule that is skipped lets more through.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::scope::{Rule, Scope};
use crate::capture::TableName;

/// Of the form below; a rule more is another version.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ScopeForm {
    version: u32,
    rule: RuleForm,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum RuleForm {
    Column { values: BTreeSet<String> },
    Meta { key: String, values: BTreeSet<String> },
    Table { schema: Option<String>, name: String },
    All { first: Box<RuleForm>, second: Box<RuleForm> },
    Any { first: Box<RuleForm>, second: Box<RuleForm> },
    Nothing {},
}

/// A stored scope is not one this version reads. What is wrong is not said: the text may name tenants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidScope;

impl fmt::Display for InvalidScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the stored scope cannot be read by this version, so nothing is shown")
    }
}

impl std::error::Error for InvalidScope {}

impl From<Scope> for ScopeForm {
    fn from(scope: Scope) -> Self {
        Self { version: VERSION, rule: scope.into_rule().into() }
    }
}

impl TryFrom<ScopeForm> for Scope {
    type Error = InvalidScope;

    fn try_from(form: ScopeForm) -> Result<Self, InvalidScope> {
        if form.version != VERSION {
            return Err(InvalidScope);
        }
        Ok(Self::of_rule(form.rule.into()))
    }
}

impl From<Rule<TableName>> for RuleForm {
    fn from(rule: Rule<TableName>) -> Self {
        let both = |rules: Box<[Rule<TableName>; 2]>| rules.map(|rule| Box::new(Self::from(rule)));
        match rule {
            Rule::Column(values) => Self::Column { values },
            Rule::Meta { key, values } => Self::Meta { key, values },
            Rule::Table(table) => {
                Self::Table { schema: table.schema().map(String::from), name: table.name().to_owned() }
            }
            Rule::All(rules) => {
                let [first, second] = both(rules);
                Self::All { first, second }
            }
            Rule::Any(rules) => {
                let [first, second] = both(rules);
                Self::Any { first, second }
            }
            Rule::Nothing => Self::Nothing {},
        }
    }
}

impl From<RuleForm> for Rule<TableName> {
    fn from(form: RuleForm) -> Self {
        let both =
            |first: Box<RuleForm>, second: Box<RuleForm>| Box::new([Self::from(*first), Self::from(*second)]);
        match form {
            RuleForm::Column { values } => Self::Column(values),
            RuleForm::Meta { key, values } => Self::Meta { key, values },
            RuleForm::Table { schema, name } => Self::Table(TableName::new(schema.as_deref(), &name)),
            RuleForm::All { first, second } => Self::All(both(first, second)),
            RuleForm::Any { first, second } => Self::Any(both(first, second)),
            RuleForm::Nothing {} => Self::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scopes() -> Vec<Scope> {
        let table = || Scope::table(TableName::new(Some("a.b"), "c\"d"));
        vec![
            Scope::nothing(),
            Scope::tenant("7"),
            Scope::tenants(Vec::<String>::new()),
            Scope::tenants(["", "a", "ü"]),
            Scope::meta("key", ["1", "2"]),
            table(),
            Scope::table(TableName::new(None, "posts")),
            Scope::tenant("7").and(table()).or(Scope::nothing().and(Scope::meta("", [""]))),
        ]
    }

    #[test]
    fn scope_is_read_back_as_it_was_written() {
        for scope in scopes() {
            let text = serde_json::to_string(&scope).unwrap();
            assert_eq!(serde_json::from_str::<Scope>(&text).unwrap(), scope, "{text}");
        }
        assert_eq!(
            serde_json::to_string(&Scope::tenant("7").or(Scope::table(TableName::new(None, "t")))).unwrap(),
            r#"{"version":1,"rule":{"any":{"first":{"column":{"values":["7"]}},"second":{"table":{"schema":null,"name":"t"}}}}}"#
        );
    }

    #[test]
    fn what_this_version_does_not_know_is_refused_and_not_quoted() {
        for form in [
            "{}",
            "null",
            "\"nothing\"",
            r#"{"rule":{"nothing":{}}}"#,
            r#"{"version":1}"#,
            r#"{"version":2,"rule":{"nothing":{}}}"#,
            r#"{"version":1,"rule":{"nothing":{}},"secret":1}"#,
            r#"{"version":1,"rule":{"everything":{}}}"#,
            r#"{"version":1,"rule":{"column":{"values":["secret"],"except":["7"]}}}"#,
            r#"{"version":1,"rule":{"column":{"values":[7]}}}"#,
            r#"{"version":1,"rule":{"column":["secret"]}}"#,
            r#"{"version":1,"rule":{"table":{"schema":"s","name":"t","rows":"some"}}}"#,
            r#"{"version":1,"rule":{"any":{"first":{"column":{"values":["7"]}}}}}"#,
            r#"{"version":1,"rule":{"nothing":{},"column":{"values":["7"]}}}"#,
        ] {
            assert!(serde_json::from_str::<Scope>(form).is_err(), "{form}");
        }
    }
}
