//! Retention: what is due goes, what is not stays, and no answer is wrong for it.

mod archive;
mod fillers;
mod holds;
mod maintenance;
mod model;
mod property;
mod runs;
mod worker;

use std::ops::ControlFlow;
use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::PgConnection;
use threadline::retention::{RetentionPolicy, RetentionRun};
use threadline::{Actor, ActorId, Error};
use threadline_tests::{run, text};

const OPERATOR: ActorId = ActorId::from_static("retention-test");

pub(crate) fn operator() -> Actor {
    Actor::job(OPERATOR)
}

/// Partitions of a few milliseconds each in the place of months, from now on.
pub(crate) fn split_time(conn: &mut PgConnection, parts: usize, each: Duration) {
    run(conn, &format!(
        "DO $$ DECLARE part record; parent text; here timestamptz := clock_timestamp() + {parts} * interval '30 milliseconds'; ends timestamptz; BEGIN
            FOR part IN SELECT p.label FROM threadline.partitions() p LOOP
                FOREACH parent IN ARRAY threadline.trail_tables() LOOP EXECUTE format('DROP TABLE threadline.%I', parent || part.label); END LOOP;
            END LOOP;
            FOREACH parent IN ARRAY threadline.trail_tables() LOOP
                FOR place IN 1 .. {parts} LOOP
                    ends := here + place * interval '{} milliseconds';
                    EXECUTE format('CREATE TABLE threadline.%I PARTITION OF threadline.%I FOR VALUES FROM (%s) TO (%L)', parent || '_2001_' || lpad(place::text, 2, '0'), parent,
                        CASE place WHEN 1 THEN 'MINVALUE' ELSE quote_literal(threadline.first_id_at(ends - interval '{} milliseconds')) END, threadline.first_id_at(ends));
                END LOOP;
                EXECUTE format('CREATE TABLE threadline.%I PARTITION OF threadline.%I FOR VALUES FROM (%L) TO (MAXVALUE)', parent || '_tail', parent, threadline.first_id_at(ends));
            END LOOP;
            PERFORM pg_sleep_until(here);
        END $$",
        each.as_millis(),
        each.as_millis()
    ));
}

/// Waits until all partitions but the last are over.
fn wait_for_end(conn: &mut PgConnection) {
    run(
        conn,
        "SELECT pg_sleep_until(max(threadline.instant_of(p.end_id)) + interval '10 milliseconds') FROM threadline.partitions() p",
    );
}

/// One that takes what is older than `keep`, without pauses.
pub(crate) fn policy(keep: Duration) -> RetentionPolicy {
    RetentionPolicy::new().keep(keep).minimum(Duration::ZERO).pause(Duration::ZERO)
}

/// The window that ends at an instant.
fn since(at: DateTime<Utc>) -> Duration {
    (Utc::now() - at).to_std().expect("the instant has passed")
}

pub(crate) fn retain(conn: &mut PgConnection, policy: &RetentionPolicy) -> RetentionRun {
    try_retain(conn, policy).unwrap_or_else(|error| panic!("{error:?}"))
}

fn try_retain(conn: &mut PgConnection, policy: &RetentionPolicy) -> Result<RetentionRun, Error> {
    threadline::retention::run(conn, policy, &operator(), None, &mut |_| ControlFlow::Continue(()))
}

fn count(conn: &mut PgConnection, table: &str) -> u64 {
    text(conn, &format!("SELECT count(*) FROM threadline.{table}")).parse().expect("a count")
}
