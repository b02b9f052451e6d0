//! What a trail lets through, as evidence: the form of its scopes, without the tenants and values in them.

use diesel::prelude::*;

use super::scope::{Rule, Scope, Surface};
use super::trail::Trail;
use crate::capture::TableName;
use crate::error::Error;
use crate::intent::Actor;
use crate::operation::evidence::{Record, Recorded, Reference, Status, Subject, record_if_allowed};

/// Bytes of a scope's form that are recorded; the twelve surfaces fit into one record.
const LARGEST: usize = 700;

impl Trail {
    /// Records what this trail lets through on each surface, as the [evidence](crate::evidence) of how support or other operators
    /// are held to their part: to be called where such a trail is made. `whose` says who reads through it, such as
    /// `Reference::new("role", "support")`; `entry_point` is what calls this, 1 to 256 bytes; `by` who asked for it. What has not
    /// changed for a day is not written again.
    ///
    /// Of a scope only its form is recorded: kinds of conditions, tables, and how many values there are, none of these. A surface
    /// on which the host's hook fails, and therefore nothing is shown, makes it a finding.
    ///
    /// `None` when the role may not record it, or the connection cannot write, as that of a replica.
    ///
    /// # Errors
    ///
    /// As [`evidence::record`](crate::evidence::record).
    pub fn record_posture(
        &self,
        conn: &mut PgConnection,
        whose: Reference,
        entry_point: &str,
        by: Option<&Actor>,
    ) -> Result<Option<Recorded>, Error> {
        let mut status = Status::Ok;
        let surfaces: Vec<(String, String)> = Surface::ALL
            .iter()
            .map(|surface| {
                let form = match self.scope_of_host(*surface) {
                    None => "everything".to_owned(),
                    Some(Ok(scope)) => form(scope),
                    Some(Err(_)) => {
                        status = Status::Finding;
                        "fails".to_owned()
                    }
                };
                (surface.as_str().to_owned(), form)
            })
            .collect();
        let record = Record::new(Subject::SupportScopePosture, whose, "threadline::Trail", entry_point)
            .status(status)
            .by(by)
            .detail("scoped", self.is_scoped())
            .named("surfaces", surfaces);
        let recorded = record_if_allowed(conn, Subject::SupportScopePosture, &[record])?;
        Ok(recorded.into_iter().next())
    }
}

/// A scope as text, such as `(scope column is one of 2 or table public.countries)`.
fn form(scope: Scope) -> String {
    enum Part {
        Rule(Rule<TableName>),
        Text(&'static str),
    }
    let mut form = String::new();
    // From left to right, so that a large one can be cut off.
    let mut left = vec![Part::Rule(scope.into_rule())];
    while let Some(part) = left.pop() {
        let (word, both) = match part {
            Part::Text(text) => {
                form.push_str(text);
                continue;
            }
            Part::Rule(Rule::All(both)) => (" and ", both),
            Part::Rule(Rule::Any(both)) => (" or ", both),
            Part::Rule(rule) => {
                form.push_str(&match rule {
                    Rule::Column(values) => format!("scope column is one of {}", values.len()),
                    Rule::Meta { values, .. } => format!("metadata is one of {}", values.len()),
                    Rule::Table(table) => format!("table {}", table.to_plain()),
                    _ => "nothing".to_owned(),
                });
                continue;
            }
        };
        if form.len() > LARGEST {
            break;
        }
        let [first, second] = *both;
        form.push('(');
        left.extend([Part::Text(")"), Part::Rule(second), Part::Text(word), Part::Rule(first)]);
    }
    if form.len() > LARGEST {
        let end = (0..=LARGEST).rev().find(|end| form.is_char_boundary(*end)).unwrap_or(0);
        form.truncate(end);
        form.push('…');
    }
    form
}
