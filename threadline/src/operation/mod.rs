//! Keeping the audit healthy over the years: what is deployed, what it should be, and what to do about the difference.

pub mod continuity;
mod deployed;
pub mod health;
pub mod policy;
pub mod verify;
