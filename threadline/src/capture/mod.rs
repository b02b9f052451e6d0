//! What happened: the triggers that record every write.
//!
//! The triggers themselves are SQL and live in the database (`migrations/`); this installs and removes them.

mod install;
mod spec;

pub use self::install::{Refreshed, attach, attach_models, detach, maintain, refresh_all};
pub use self::spec::{ActorPolicy, AuditSpec, OnTruncate, TableName, quote_ident, quote_literal};
