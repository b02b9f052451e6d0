//! Promises that hold across crates, on a real PostgreSQL.

mod drift;
mod keys;
mod operations;
mod partitions;
mod privileges;
mod redaction;
mod restore;
mod transactions;
mod truncate;
mod typed_reading;
