//! What the guides show works: their SQL, and a job that carries its context through a queue.

use std::sync::Mutex;

use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use fang::{FangError, Queue, Queueable, Runnable, Worker, run_migrations_postgres, typetag};
use serde::{Deserialize, Serialize};
use threadline::{Action, Actor, ActorId, AuditContext, AuditedPool, Error};
use threadline_tests::{audited_database, run, text, texts};

const POSTS: &str =
    "CREATE TABLE posts (id bigint PRIMARY KEY, title text, indexed boolean NOT NULL DEFAULT false);
    INSERT INTO posts VALUES (1, ' Draft '); SELECT threadline.attach('posts')";

/// Each transaction with changes: actor, correlation id, action and what was changed.
const TRAIL: &str = "SELECT concat_ws(' | ', t.actor_type || ':' || t.actor_id, t.correlation_id, t.meta, a.name, a.reason, c.diff)
    FROM threadline.audit_transactions t JOIN threadline.audit_changes c ON c.transaction_id = t.id
        LEFT JOIN threadline.audit_actions a ON a.id = t.action_id ORDER BY c.captured_at";

#[test]
fn every_block_for_plain_clients_runs_and_is_attributed_as_it_says() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    let guide = include_str!("../../guides/plain-clients.md");
    let blocks = guide.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    for block in blocks {
        // As psql sends a script: a transaction where the block begins one, else one for the whole.
        run(conn, block);
    }
    assert_eq!(
        texts(conn, TRAIL),
        [
            r#"admin:ops@example.com | {"title": [" Draft ", "Corrected"]}"#,
            r#"admin:ops@example.com | ticket-4711 | {"script": "fix-titles.sql"} | {"title": ["Corrected", "Corrected again"]}"#,
            r#"admin:ops@example.com | titles.corrected | ticket-4711 | {"title": ["Corrected again", "Corrected for good"]}"#,
            r#"admin:ops@example.com | {"title": ["Corrected for good", "By hand"]}"#,
        ]
    );
    assert_eq!(text(conn, "SELECT current_setting('threadline.actor_ref', true)"), "");
}

#[test]
fn handlers_in_the_readme_are_those_of_the_guide_which_is_compiled() {
    let guide = include_str!("../../guides/requests.md");
    let readme = include_str!("../../README.md");
    let blocks: Vec<_> =
        readme.split("```rust,no_run\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        assert!(guide.contains(block), "not in guides/requests.md:\n{block}");
    }
}

/// Where the job's worker finds the pool: fang makes the job from its payload alone.
static POOL: Mutex<Option<AuditedPool>> = Mutex::new(None);

#[derive(Serialize, Deserialize)]
#[serde(crate = "fang::serde")]
struct IndexPost {
    post_id: i64,
    context: AuditContext,
}

#[typetag::serde]
impl Runnable for IndexPost {
    fn run(&self, _queue: &dyn Queueable) -> Result<(), FangError> {
        let failed = |error: Error| FangError { description: error.to_string() };
        let transaction = self
            .context
            .clone()
            .with_actor(Actor::job(ActorId::from_static("index-post")))
            .with_job_id(format!("index-post-{}", self.post_id))
            .transaction()
            .action(Action::new("post.indexed"));
        let pool = POOL.lock().unwrap().clone().expect("the test has set it");
        pool.write(transaction, |conn, _| {
            diesel::sql_query("UPDATE posts SET indexed = true WHERE id = $1")
                .bind::<diesel::sql_types::BigInt, _>(self.post_id)
                .execute(conn)
                .map_err(Error::Query)
        })
        .map(drop)
        .map_err(failed)
    }
}

#[test]
fn job_carries_its_context_through_a_queue_and_is_its_own_actor_in_the_same_work() {
    let db = audited_database();
    let conn = &mut db.connect();
    run(conn, POSTS);
    run_migrations_postgres(conn).expect("the queue's own migrations run");
    let pool = Pool::builder().max_size(2).build(ConnectionManager::<PgConnection>::new(db.url())).unwrap();
    *POOL.lock().unwrap() = Some(AuditedPool::new(pool.clone()));

    let request = AuditContext::new(Actor::user(7)).with_request_id("r-1").with_correlation_id("c-1");
    // In the transaction that causes it: a rolled back one leaves no job.
    for kept in [false, true] {
        let caused: Result<(), Error> = request.transaction().run(conn, |conn, _| {
            Queue::insert_query(conn, &IndexPost { post_id: 1, context: request.clone() }, fang::Utc::now())
                .expect("the job fits the queue");
            if kept { Ok(()) } else { Err(Error::NoChanges) }
        });
        assert_eq!(caused.is_ok(), kept);
    }
    let queue = Queue::builder().connection_pool(pool).build();
    let worker = Worker::<Queue>::builder().queue(queue.clone()).build();
    while let Some(task) = queue.fetch_and_touch_task(fang::runnable::COMMON_TYPE.to_owned()).unwrap() {
        worker.run(&task).unwrap();
    }

    assert_eq!(texts(conn, TRAIL), [r#"job:index-post | c-1 | post.indexed | {"indexed": [false, true]}"#]);
    assert_eq!(
        text(conn, "SELECT concat_ws(' ', request_id, job_id) FROM threadline.audit_transactions"),
        "r-1 index-post-1"
    );
    *POOL.lock().unwrap() = None;
}
