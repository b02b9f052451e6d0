//! The example keeps what it shows.

mod app;
mod auditing;
mod models;
mod program;
