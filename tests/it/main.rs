//! Promises that hold across crates, on a real PostgreSQL.

mod drift;
mod keys;
mod operations;
mod redaction;
mod transactions;
mod typed_reading;
