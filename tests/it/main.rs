//! Promises that hold across crates, on a real PostgreSQL.

mod typed_reading;
