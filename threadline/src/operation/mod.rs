//! Operation: what keeps the trail healthy over the years, and proves that it was.

pub mod config;
pub mod continuity;
mod credential;
mod deployed;
pub mod evidence;
pub mod exports;
pub mod health;
pub mod holds;
pub mod partitions;
pub mod policy;
pub mod retention;
pub mod verify;
pub mod views;
