//! Keeping the trail healthy over the years.

pub mod holds;
pub mod partitions;
pub mod retention;
