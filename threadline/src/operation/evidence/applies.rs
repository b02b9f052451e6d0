//! Which subjects of evidence there is anything of: a host that never exported has nothing to show of exports.

use diesel::prelude::*;
use diesel::sql_types::{Array, Bool, Nullable, Text};

use super::subject::Subject;
use crate::error::Error;
use crate::investigation::Statement;

/// Of each subject that needs not have any: the table that tells, what tells it, and what it means when nothing does.
const TOLD_BY: [(&[Subject], &str, &str, &str); 5] = [
    (
        &[Subject::RetentionRun, Subject::RetentionPolicy],
        "retention_runs",
        "SELECT FROM threadline.retention_runs r WHERE r.state <> 'running'",
        "retention has never run",
    ),
    (
        &[Subject::ExportDelivery],
        "export_jobs",
        "SELECT FROM threadline.export_jobs j WHERE j.state = 'completed'",
        "no export job was ever completed",
    ),
    (
        &[Subject::LegalHold],
        "legal_holds",
        "SELECT FROM threadline.legal_holds",
        "no legal hold was ever placed",
    ),
    (
        &[Subject::RecordedBaseline],
        "audit_baselines",
        "SELECT FROM threadline.audit_baselines",
        "no baseline was ever recorded",
    ),
    (
        &[Subject::SupportScopePosture],
        "audited_tables",
        "SELECT FROM threadline.audited_tables a WHERE a.attached AND a.scope_column IS NOT NULL",
        "no audited table has a scope",
    ),
];

/// What the database says of it, by the places in [`TOLD_BY`]; `None` for what the role may not read.
#[derive(Debug)]
pub(super) struct Applies([Option<bool>; TOLD_BY.len()]);

impl Applies {
    pub(super) fn load(conn: &mut PgConnection) -> Result<Self, Error> {
        #[derive(QueryableByName)]
        struct Answer {
            #[diesel(sql_type = Array<Nullable<Bool>>)]
            is_so: Vec<Option<bool>>,
        }
        #[derive(QueryableByName)]
        struct Readable {
            #[diesel(sql_type = Array<Text>)]
            tables: Vec<String>,
        }
        // A query that names a table it may not read fails, whether it comes to reading it or not.
        let names: Vec<String> = TOLD_BY.iter().map(|(_, table, ..)| (*table).to_owned()).collect();
        let mut statement = Statement::new("SELECT coalesce(array_agg(t.name), '{}') AS tables FROM unnest(");
        statement
            .bind(names)
            .sql(") t (name) WHERE has_table_privilege(to_regclass('threadline.' || t.name), 'SELECT')");
        let readable: Vec<Readable> = statement.load_from(conn)?;
        let is_readable =
            |table: &str| readable.iter().any(|answer| answer.tables.iter().any(|name| name == table));
        let asked: Vec<String> = TOLD_BY
            .iter()
            .map(
                |(_, table, query, _)| {
                    if is_readable(table) { format!("EXISTS ({query})") } else { "NULL".to_owned() }
                },
            )
            .collect();
        let answers: Vec<Answer> =
            Statement::new(&format!("SELECT ARRAY[{}]::boolean[] AS is_so", asked.join(", ")))
                .load_from(conn)?;
        let mut is_so = answers.into_iter().flat_map(|answer| answer.is_so);
        Ok(Self(std::array::from_fn(|_| is_so.next().flatten())))
    }

    fn of(&self, subject: Subject) -> Option<(bool, &'static str)> {
        let place = TOLD_BY.iter().position(|(subjects, ..)| subjects.contains(&subject))?;
        self.0[place].map(|is_so| (is_so, TOLD_BY[place].3))
    }

    /// Why there is nothing of the subject; `None` when there is, or it cannot be told.
    pub(super) fn why_not(&self, subject: Subject) -> Option<&'static str> {
        self.of(subject).and_then(|(is_so, why_not)| (!is_so).then_some(why_not))
    }

    /// Whether there is known to be something of it.
    pub(super) fn is_known(&self, subject: Subject) -> bool {
        self.of(subject).is_some_and(|(is_so, _)| is_so)
    }
}
