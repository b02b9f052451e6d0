//! A small publishing platform whose every change is audited: what Threadline looks like in an application.
//!
//! What is special to Threadline is in three places: the `#[threadline(…)]` lines in [`models`], [`Session::write`] which
//! says who is making a change, and the questions in [`routes`]' `trail`. The rest is any actix-web and Diesel application.

pub mod db;
pub mod error;
pub mod models;
pub mod routes;
#[expect(missing_docs, reason = "diesel_cli writes it")]
pub mod schema;
pub mod server;
mod session;

pub use crate::session::{Member, Session};
