//! A password for the users of the seed migration, who cannot log in without one, and people who work here.

use std::error::Error;

use diesel::prelude::*;
use threadline::{Action, Actor, ActorId, AuditContext, AuditedPool};

use crate::models::{NewUser, Staff};
use crate::password;
use crate::schema::{organizations, staff, users};

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

/// Who works here, as [`staff`](fn@staff) adds them: an admin, and who supports the first organization.
pub const STAFF: [&str; 2] = ["mira@pressroom.example", "jo@pressroom.example"];

/// Adds [`STAFF`] to the database, with this password, unless they are there: they may see the pages at `/audit`.
///
/// # Errors
///
/// When the database refuses it.
pub fn staff(pool: &AuditedPool, password: &str) -> Result<(), Box<dyn Error + Send + Sync>> {
    let password_hash = password::hash(password)?;
    let context = AuditContext::new(Actor::system(ActorId::from_static("seed")));
    let action =
        Action::new("staff.hired").category("accounts").reason("somebody has to look into the trail");
    pool.write(context.transaction().action(action), |conn, _| {
        let there: i64 = users::table.filter(users::email.eq_any(STAFF)).count().get_result(conn)?;
        if there > 0 {
            return Ok(());
        }
        let name = organizations::name;
        let own: i64 = diesel::insert_into(organizations::table)
            .values(name.eq("Pressroom"))
            .returning(organizations::id)
            .get_result(conn)?;
        let supported: i64 =
            organizations::table.filter(name.eq("Harbour Weekly")).select(organizations::id).first(conn)?;
        for (email, role, organization_id) in
            [(STAFF[0], "admin", None), (STAFF[1], "support", Some(supported))]
        {
            let user = NewUser {
                organization_id: own,
                name: email.split('@').next().unwrap_or(email).to_owned(),
                email: email.to_owned(),
                password_hash: password_hash.clone(),
            };
            let user_id: i64 =
                diesel::insert_into(users::table).values(user).returning(users::id).get_result(conn)?;
            let role = role.to_owned();
            diesel::insert_into(staff::table)
                .values(Staff { user_id, role, organization_id })
                .execute(conn)?;
        }
        Ok(())
    })
}
