//! A password for the users of the seed migration, who cannot log in without one.

use std::error::Error;

use diesel::prelude::*;
use threadline::{Action, Actor, ActorId, AuditContext, AuditedPool};

use crate::password;
use crate::schema::users;

/// The users of the seed migration.
pub const SEEDED: [&str; 2] = ["ann@harbour.example", "sam@summit.example"];

/// Gives each of [`SEEDED`] that has no password yet this one.
///
/// The hash is excluded from the trail, so all it shows is the action.
///
/// # Errors
///
/// When the database refuses it.
pub fn passwords(pool: &AuditedPool, password: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let hash = password::hash(password)?;
    let context = AuditContext::new(Actor::system(ActorId::from_static("seed")));
    let transaction = context.transaction().action(Action::new("user.password_set").category("accounts"));
    pool.write(transaction, |conn, _| {
        let without = users::table.filter(users::email.eq_any(SEEDED).and(users::password_hash.eq("!")));
        diesel::update(without).set(users::password_hash.eq(hash)).execute(conn)?;
        Ok(())
    })
}
