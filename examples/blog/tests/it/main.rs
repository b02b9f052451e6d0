//! The example keeps what it shows.

mod app;
mod auditing;
mod login;
mod models;
mod program;
