//! Evidence: added and never changed, by those who may, and what it supports is the worst of what each record does.

mod proofs;
mod records;

use diesel::PgConnection;
use threadline::evidence::{self, EvidenceFilter, EvidenceRecord, Record, Reference, Subject};
use threadline::{PageRequest, TableName};

fn posts() -> Reference {
    Reference::table(&TableName::new(Some("public"), "posts"))
}

fn policy(columns: &[&str]) -> Record {
    Record::new(Subject::RedactionPolicy, posts(), "threadline::policy", "threadline policy")
        .detail("masked", columns)
}

fn delivery(job: i32) -> Record {
    Record::new(Subject::ExportDelivery, Reference::new("job", job), "reports", "GET /exports/{job}")
}

fn run_of_retention(run: i32) -> Record {
    Record::new(Subject::RetentionRun, Reference::new("run", run), "threadline::retention", "worker")
        .detail("rows", run)
}

fn all(conn: &mut PgConnection) -> Vec<EvidenceRecord> {
    evidence::history(conn, &EvidenceFilter::new(), &PageRequest::new()).unwrap().entries
}
