//! Intent: who changes something, why, and in which database transaction.
//!
//! ```no_run
//! use diesel::prelude::*;
//! use threadline::{Action, Actor, AuditContext};
//!
//! # diesel::table! { posts (id) { id -> BigInt, status -> Text } }
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let mut conn = PgConnection::establish("postgres://localhost/blog")?;
//! let context = AuditContext::new(Actor::user(42)).with_request_id("01J-7F");
//! let published = context.transaction().action(Action::new("post.published")).run(&mut conn, |conn, transaction| {
//!     diesel::update(posts::table.find(7)).set(posts::status.eq("published")).execute(conn)?;
//!     Ok::<_, Box<dyn std::error::Error>>(transaction.id())
//! })?;
//! # let _ = published;
//! # Ok(())
//! # }
//! ```

mod action;
mod actor;
mod context;
mod pool;
mod retry;
mod transaction;

pub use self::action::{Action, ActionStatus};
pub use self::actor::{Actor, ActorId, ActorType};
pub use self::context::{AuditContext, InvalidContext};
pub(crate) use self::context::{TextKind, text_problem};
pub use self::pool::AuditedPool;
pub(crate) use self::retry::gave_way;
pub use self::retry::is_retryable;
pub use self::transaction::{Isolation, OpenTransaction, TransactionBuilder};
pub(crate) use self::transaction::{depth, roll_back};
