//! What the verbs that look after the trail leave behind as evidence, where the role may.

use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::Bool;
use serde::Serialize;
use threadline::evidence::{self, Recorded, Subject};

use crate::models::counted;
use crate::output::{DIM, Line, Output, warn};

/// Whether to leave evidence.
#[derive(clap::Args)]
pub(crate) struct EvidenceArgs {
    /// Do not record what was found as evidence; otherwise it is, where the role may, once a day or when it changes
    #[arg(long, help_heading = "Evidence")]
    no_evidence: bool,
}

/// What became of the evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub(crate) enum Kept {
    /// `written` records are new; the others say what was recorded within the last day.
    Recorded { written: usize, unchanged: usize },
    /// The role may not, and nothing was tried.
    NotPermitted,
    /// It could not be, and that is no reason to fail.
    Failed,
    /// `--no-evidence`.
    Off,
}

impl EvidenceArgs {
    /// Has what was found recorded, all of it of subjects that take the same right as this one, if that may be and can be done.
    pub(crate) fn keep(
        &self,
        conn: &mut PgConnection,
        subject: Subject,
        record: impl FnOnce(&mut PgConnection) -> Result<Vec<Recorded>, threadline::Error>,
    ) -> Kept {
        if self.no_evidence {
            return Kept::Off;
        }
        match evidence::may_record(conn, subject) {
            Ok(true) => {}
            Ok(false) => return Kept::NotPermitted,
            Err(error) => return failed(error.kind()),
        }
        // The library leaves it out then without a word, as it is to on a replica.
        let read_only = sql::<Bool>("current_setting('transaction_read_only')::boolean");
        match diesel::select(read_only).get_result(conn) {
            Ok(false) => {}
            Ok(true) => return failed("the session is read-only"),
            Err(_) => return failed("the database did not answer"),
        }
        match record(conn) {
            Ok(recorded) => {
                let written = recorded.iter().filter(|Recorded { written, .. }| *written).count();
                Kept::Recorded { written, unchanged: recorded.len() - written }
            }
            Err(error) => failed(error.kind()),
        }
    }
}

impl Kept {
    /// Says that there is something new on record.
    pub(crate) fn print(self, output: &mut Output) -> std::io::Result<()> {
        match self {
            Self::Recorded { written, .. } if written > 0 => output.line(
                &Line::new().styled(DIM, format!("recorded as evidence: {}", counted(written, "new record"))),
            ),
            _ => Ok(()),
        }
    }
}

fn failed(why: &str) -> Kept {
    warn(&format!("what was found could not be recorded as evidence ({why}); `--no-evidence` does without"));
    Kept::Failed
}
