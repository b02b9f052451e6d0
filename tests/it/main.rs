//! Promises that hold across crates, on a real PostgreSQL.

mod attacks;
mod drift;
mod handlers;
mod intent;
mod keys;
mod names;
mod operations;
mod partitions;
mod privileges;
mod property;
mod redaction;
mod refusals;
mod restore;
mod schema;
mod transactions;
mod truncate;
mod typed_reading;
