//! Operation: what keeps the trail healthy over the years, and proves that it was.

pub mod config;
mod credential;
pub mod evidence;
