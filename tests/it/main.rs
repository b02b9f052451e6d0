//! Promises that hold across crates, on a real PostgreSQL.

mod attacks;

mod drift;
mod export;
mod feed;
mod guides;
mod handlers;
mod intent;
mod intruder;
mod keys;
mod middleware;
mod names;
mod operations;
mod partitions;
mod plans;
mod pooler;
mod privileges;
mod property;
mod redaction;
mod refusals;
mod requests;
mod restore;
mod retention;
mod round_trips;
mod schema;
mod scopes;
mod timeline;
mod transaction;
mod transactions;
mod travel;
mod truncate;
mod typed_reading;
mod types;
mod undo;
