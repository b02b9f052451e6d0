//! The queue against a model of it: whatever workers, owners and time do in whatever order, each job is one worker's at most,
//! and what somebody may do to it is what the model allows.

use diesel::PgConnection;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use threadline::exports::{self, Claim, ExportFailure, ExportState};
use threadline::{Error, ExportFormat, ExportSummary};
use threadline_tests::{audited_database, run, text};

use super::{alice, everything};

const LEASE: std::time::Duration = std::time::Duration::from_secs(3600);

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A worker asks for a job, and remembers what it is given.
    Claim,
    /// The worker does this with one of the claims it remembers, however old.
    Heartbeat(usize),
    HandBack(usize),
    Complete(usize),
    FailTransiently(usize),
    FailForGood(usize),
    /// Time passes: everything that waits is due, every lease is over.
    Later,
    Cancel,
    /// The file's time is over.
    Expire,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let held = any::<prop::sample::Index>().prop_map(|index| index.index(100));
    let step = prop_oneof![
        4 => Just(Step::Claim),
        2 => held.clone().prop_map(Step::Heartbeat),
        2 => held.clone().prop_map(Step::HandBack),
        2 => held.clone().prop_map(Step::Complete),
        2 => held.clone().prop_map(Step::FailTransiently),
        1 => held.prop_map(Step::FailForGood),
        4 => Just(Step::Later),
        1 => Just(Step::Cancel),
        1 => Just(Step::Expire),
    ];
    prop::collection::vec(step, 1..25)
}

/// What there should be.
#[derive(Debug)]
struct Model {
    state: ExportState,
    attempt: u32,
    failures: u32,
    /// Whether it waits for its time, or its lease is not over.
    early: bool,
}

const MOST: u32 = 3;

impl Model {
    fn claim(&mut self) -> bool {
        if self.early || !matches!(self.state, ExportState::Queued | ExportState::Running) {
            return false;
        }
        self.failures += u32::from(self.state == ExportState::Running);
        if self.failures >= MOST {
            self.state = ExportState::Failed;
            return false;
        }
        (self.state, self.attempt, self.early) = (ExportState::Running, self.attempt + 1, true);
        true
    }

    fn is_held(&self, claim: &Claim) -> bool {
        self.state == ExportState::Running && claim.job().attempt == self.attempt
    }

    fn failed(&mut self, for_good: bool) {
        self.failures += 1;
        let is_over = for_good || self.failures >= MOST;
        (self.state, self.early) =
            (if is_over { ExportState::Failed } else { ExportState::Queued }, !is_over);
    }
}

fn summary(conn: &mut PgConnection, claim: &Claim) -> ExportSummary {
    claim.export(conn, None, std::io::sink(), |_| {}).unwrap()
}

#[test]
fn a_job_is_one_workers_at_most_whatever_happens_in_whatever_order() {
    let db = audited_database();
    let conn = std::cell::RefCell::new(db.connect());
    let config = Config { cases: 200, max_shrink_iters: 200, failure_persistence: None, ..Config::default() };
    let seen = std::cell::RefCell::new(std::collections::BTreeSet::new());
    let result = TestRunner::new(config).run(&steps(), |steps| {
        let conn = &mut *conn.borrow_mut();
        run(conn, "TRUNCATE threadline.export_jobs");
        let request = everything(ExportFormat::Csv).max_failures(MOST);
        let id = exports::enqueue(conn, &request, &alice()).unwrap().id;
        let mut model = Model { state: ExportState::Queued, attempt: 0, failures: 0, early: false };
        let mut claims: Vec<Claim> = Vec::new();
        let mut completed: Option<ExportSummary> = None;
        for step in steps {
            let claim = |number: usize| claims.get(number % claims.len().max(1)).cloned();
            // What was done, and whether the model lets it.
            let outcome = match step {
                Step::Claim => {
                    let taken = exports::claim(conn, "w", LEASE).unwrap();
                    let allowed = model.claim();
                    prop_assert_eq!(taken.is_some(), allowed, "{:?}", step);
                    claims.extend(taken);
                    None
                }
                Step::Heartbeat(number) => claim(number).map(|claim| {
                    let allowed = model.is_held(&claim);
                    model.early |= allowed;
                    (exports::heartbeat(conn, &claim, 1, 1, LEASE), allowed)
                }),
                Step::HandBack(number) => claim(number).map(|claim| {
                    let allowed = model.is_held(&claim);
                    if allowed {
                        (model.state, model.early) = (ExportState::Queued, false);
                    }
                    (exports::hand_back(conn, &claim), allowed)
                }),
                Step::Complete(number) => claim(number).map(|claim| {
                    let again = model.state == ExportState::Completed && claim.job().attempt == model.attempt;
                    let summary = completed.clone().filter(|_| again).unwrap_or_else(|| summary(conn, &claim));
                    let allowed = model.is_held(&claim);
                    if allowed {
                        model.state = ExportState::Completed;
                        completed = Some(summary.clone());
                    }
                    (exports::complete(conn, &claim, &summary, LEASE).map(drop), allowed || again)
                }),
                Step::FailTransiently(number) | Step::FailForGood(number) => claim(number).map(|claim| {
                    let allowed = model.is_held(&claim);
                    let for_good = matches!(step, Step::FailForGood(_));
                    if allowed {
                        model.failed(for_good);
                    }
                    let failure = if for_good { ExportFailure::Refused } else { ExportFailure::Storage };
                    (exports::fail(conn, &claim, failure).map(drop), allowed)
                }),
                Step::Later => {
                    run(conn, "UPDATE threadline.export_jobs SET due_at = now() - interval '1 second'");
                    model.early = false;
                    None
                }
                Step::Cancel => {
                    let is_open = matches!(model.state, ExportState::Queued | ExportState::Running);
                    let cancelled = exports::cancel(conn, id, &alice()).unwrap();
                    prop_assert_eq!(cancelled == 1, is_open);
                    if is_open {
                        model.state = ExportState::Cancelled;
                    }
                    None
                }
                Step::Expire => {
                    run(conn, "UPDATE threadline.export_jobs SET expires_at = now() - interval '1 second' WHERE state = 'completed'");
                    let left = exports::sweep(conn, None, 10).unwrap();
                    if model.state == ExportState::Completed {
                        model.state = ExportState::Expired;
                    }
                    // Every file that may be there is named, once no worker writes any more.
                    for leftovers in left {
                        prop_assert!(!matches!(model.state, ExportState::Queued | ExportState::Running));
                        prop_assert_eq!(leftovers.object_names().len(), model.attempt as usize);
                    }
                    None
                }
            };
            match outcome {
                Some((Ok(()), allowed)) => prop_assert!(allowed, "{:?} was let through: {:?}", step, model),
                Some((Err(Error::ExportClaimLost { .. }), allowed)) => {
                    prop_assert!(!allowed, "{:?} was refused: {:?}", step, model);
                }
                Some((Err(error), _)) => return Err(TestCaseError::fail(format!("{step:?}: {error}"))),
                None => {}
            }
            let found = exports::find(conn, id).unwrap().unwrap();
            prop_assert_eq!((found.state, found.attempt, found.failures), (model.state, model.attempt, model.failures), "{:?}", step);
            prop_assert_eq!(found.object_name.is_some(), matches!(found.state, ExportState::Completed | ExportState::Expired));
            seen.borrow_mut().insert(found.state.to_string());
        }
        Ok(())
    });
    result.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(seen.borrow().len(), 6, "every state was reached: {:?}", seen.borrow());
    assert_eq!(text(&mut db.connect(), "SELECT count(*) FROM threadline.export_jobs"), "1");
}
