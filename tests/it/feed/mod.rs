//! The feed: every committed transaction, in an order that can be resumed, and none skipped however late it commits.

mod order;
mod ruptures;
mod waiting;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use diesel::PgConnection;
use threadline::{
    Action, Actor, AuditContext, Error, FeedBatch, FeedCursor, FeedEntry, FeedTransaction, Trail, feed_hold,
    listen_for_feed, wait_for_feed,
};
use threadline_devdb::Cluster;
use threadline_tests::{TestRole, audited_cluster, audited_database, clock, refused, run, text, texts};

use crate::restore::{burn, pipe, restored};

const NOTES: &str =
    "CREATE TABLE notes (id bigint PRIMARY KEY, body text); SELECT threadline.attach('notes')";

/// A server of the test's own: transactions of other databases hold the feed back as those of this one do.
fn app(cluster: &Cluster) -> PgConnection {
    cluster.connect("app").unwrap()
}

/// Each entry as the keys of its changes (`+` for a part that goes on, `…` for one that went before) or the action's name.
fn shown(batch: &FeedBatch) -> Vec<String> {
    batch.entries.iter().map(show).collect()
}

fn show(entry: &FeedEntry) -> String {
    match entry {
        FeedEntry::Transaction(part) => {
            let keys: Vec<&str> = part.changes.iter().map(|change| change.change.row_key.as_str()).collect();
            let names: Vec<&str> = part.actions.iter().map(|action| action.name.as_str()).collect();
            format!(
                "{}{}{}{}",
                if part.continued { "…" } else { "" },
                names.join(","),
                keys.join(","),
                if part.complete { "" } else { "+" }
            )
        }
        FeedEntry::Action(action) => format!("alone: {}", action.action.name),
        other => panic!("{other:?}"),
    }
}

fn read(conn: &mut PgConnection, cursor: &FeedCursor, limit: u32) -> FeedBatch {
    Trail::unscoped().read_feed(conn, cursor, limit).unwrap_or_else(|error| panic!("{error}: {cursor}"))
}

/// Reads on until caught up; the cursor is moved.
fn drain(conn: &mut PgConnection, cursor: &mut FeedCursor, limit: u32) -> Vec<FeedEntry> {
    let mut entries = Vec::new();
    loop {
        let batch = read(conn, cursor, limit);
        // As a reader does that keeps it somewhere.
        *cursor = batch.cursor.to_string().parse().unwrap();
        entries.extend(batch.entries);
        if batch.caught_up {
            return entries;
        }
    }
}

fn drained(conn: &mut PgConnection, cursor: &mut FeedCursor, limit: u32) -> Vec<String> {
    drain(conn, cursor, limit).iter().map(show).collect()
}

fn transaction(entry: &FeedEntry) -> &FeedTransaction {
    match entry {
        FeedEntry::Transaction(transaction) => transaction,
        other => panic!("{other:?}"),
    }
}
