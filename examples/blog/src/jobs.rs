//! What is left to do after a request: a queue in a table, so that a job is scheduled if and only if the request commits.

use std::error::Error;
use std::thread;
use std::time::Duration;

use diesel::dsl::now;
use diesel::prelude::*;
use serde::{Deserialize, Serialize};
use threadline::{Action, Actor, ActorId, AuditContext, AuditedPool};

use crate::models::NewNotification;
use crate::schema::{jobs, memberships, notifications, posts};

type JobError = Box<dyn Error + Send + Sync>;

/// A task, and the context it was asked for in.
#[derive(Serialize, Deserialize)]
struct Job {
    context: AuditContext,
    task: Task,
}

/// What can be left to a job.
#[derive(Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(crate) enum Task {
    /// Tell the members of the organization that a post was published.
    NotifyMembers {
        /// The post.
        post_id: i64,
    },
}

/// Leaves a task to the worker, in the transaction of `conn`.
pub(crate) fn schedule(conn: &mut PgConnection, context: &AuditContext, task: Task) -> QueryResult<()> {
    let job = serde_json::to_value(Job { context: context.clone(), task }).expect("texts and numbers");
    diesel::insert_into(jobs::table).values(jobs::payload.eq(job)).execute(conn)?;
    Ok(())
}

/// Runs jobs as they come, for as long as the process lives.
pub fn work(pool: &AuditedPool) -> ! {
    loop {
        match run_next(pool) {
            Ok(true) => continue,
            Ok(false) => {}
            Err(error) => log::error!("a job failed: {error}"),
        }
        thread::sleep(Duration::from_millis(200));
    }
}

/// Runs the next job; `false` when none is waiting.
///
/// A job is claimed first, and deleted in the transaction that does its work: one that fails, or whose process dies, stays in
/// the table, claimed, for somebody to look at.
///
/// # Errors
///
/// When the database cannot be asked, or the job fails.
pub fn run_next(pool: &AuditedPool) -> Result<bool, JobError> {
    let waiting = jobs::table.filter(jobs::claimed_at.is_null()).select(jobs::id).order(jobs::id);
    let Some(id) = pool.read(|conn| waiting.first(conn).optional().map_err(JobError::from))? else {
        return Ok(false);
    };
    if let Some(job) = claim(pool, id)? {
        run(pool, id, serde_json::from_value(job)?)?;
    }
    Ok(true)
}

/// The payload; `None` when another worker was faster.
fn claim(pool: &AuditedPool, id: i64) -> Result<Option<serde_json::Value>, JobError> {
    let worker = AuditContext::new(Actor::system(ActorId::from_static("worker")));
    pool.write(worker.transaction(), |conn, _| {
        let waiting = jobs::table.find(id).filter(jobs::claimed_at.is_null());
        let claimed = diesel::update(waiting).set(jobs::claimed_at.eq(now)).returning(jobs::payload);
        Ok(claimed.get_result(conn).optional()?)
    })
}

/// Does the work under the context of the request that asked for it, with the job as its actor: the request's id and
/// correlation id lead from one to the other.
fn run(pool: &AuditedPool, id: i64, Job { context, task }: Job) -> Result<(), JobError> {
    let Task::NotifyMembers { post_id } = task;
    let context = context.with_actor(Actor::job(id)).with_job_id(id.to_string());
    let transaction = context
        .transaction()
        .action(Action::new("members.notified").category("content").reason("a post was published"))
        .record_failures();
    pool.write(transaction, |conn, _| {
        notify_members(conn, post_id)?;
        diesel::delete(jobs::table.find(id)).execute(conn)?;
        Ok(())
    })
}

/// Tells all but the author. A post that is gone by now is nothing to be told of.
fn notify_members(conn: &mut PgConnection, post_id: i64) -> QueryResult<()> {
    let post = posts::table.find(post_id).select((posts::organization_id, posts::author_id));
    let Some((organization_id, author_id)) = post.first::<(i64, i64)>(conn).optional()? else {
        return Ok(());
    };
    let readers: Vec<i64> = memberships::table
        .filter(memberships::organization_id.eq(organization_id).and(memberships::user_id.ne(author_id)))
        .select(memberships::user_id)
        .load(conn)?;
    let notifications: Vec<_> =
        readers.into_iter().map(|user_id| NewNotification { organization_id, user_id, post_id }).collect();
    diesel::insert_into(notifications::table).values(notifications).execute(conn)?;
    Ok(())
}
