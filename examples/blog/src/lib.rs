//! A small publishing platform whose every change is audited: what Threadline looks like in an application.
//!
//! What is special to Threadline is in a few places: the `#[threadline(…)]` lines in [`models`]; the middleware and the
//! audited pool in [`server`], with [`session`] to say who is asking; the `#[audited(…)]` lines above the handlers in
//! [`routes`] and [`pages`]; the context that [`jobs`] carry; the questions in [`routes`]' `trail`; and [`audit`], with who
//! may see the pages for operators. The rest is any actix-web and Diesel application.

pub mod audit;
pub mod db;
pub mod error;
pub mod jobs;
mod login;
pub mod metrics;
pub mod models;
mod origin;
pub mod pages;
mod password;
mod publishing;
pub mod routes;
#[expect(missing_docs, reason = "diesel_cli writes it")]
pub mod schema;
pub mod seed;
pub mod server;
pub mod session;
