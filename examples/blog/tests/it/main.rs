//! The example keeps what it shows.

mod app;
mod auditing;
mod intent;
mod login;
mod models;
mod pages;
mod program;
