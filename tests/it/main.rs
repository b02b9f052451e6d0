//! Promises that hold across crates, on a real PostgreSQL.

mod drift;
mod operations;
mod redaction;
mod transactions;
mod typed_reading;
