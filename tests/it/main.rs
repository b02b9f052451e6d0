//! Promises that hold across crates, on a real PostgreSQL.

mod operations;
mod typed_reading;
