//! Who is on the platform, and what they have written so far.

use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result};
use blog::models::{Membership, NewUser};
use blog::schema::{memberships, organizations, users};
use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use threadline::{Action, Actor, ActorId, AuditContext};

use super::chance::Chance;
use super::scribe::Scribe;

/// An organization that is founded in the history, beside the two of the example's migrations.
const FOUNDED: [&str; 2] = ["Lakeside Tribune", "Northwind Journal"];

/// Who joins which organization, by its name.
const JOIN: [(&str, &str); 11] = [
    ("Harbour Weekly", "tom"),
    ("Harbour Weekly", "ines"),
    ("Harbour Weekly", "yusuf"),
    ("Summit Review", "petra"),
    ("Summit Review", "liam"),
    ("Lakeside Tribune", "noor"),
    ("Lakeside Tribune", "kai"),
    ("Lakeside Tribune", "vera"),
    ("Northwind Journal", "oskar"),
    ("Northwind Journal", "mei"),
    ("Northwind Journal", "dana"),
];

pub(super) struct Platform {
    pub(super) houses: Vec<House>,
}

/// An organization, with what there is of it now.
pub(super) struct House {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) members: Vec<i64>,
    pub(super) posts: Vec<Post>,
    /// Comments that can be deleted, with who wrote them.
    pub(super) comments: Vec<(i64, i64)>,
}

pub(super) struct Post {
    pub(super) id: i64,
    pub(super) published: bool,
}

impl Platform {
    /// Whether a database has the history already.
    pub(super) fn is_there(conn: &mut PgConnection) -> QueryResult<bool> {
        let founded = organizations::table.filter(organizations::name.eq_any(FOUNDED));
        Ok(founded.count().get_result::<i64>(conn)? > 0)
    }

    /// The two organizations there were, two new ones, and the people who join them.
    pub(super) fn found(scribe: &mut Scribe<'_>, chance: &mut Chance, first: DateTime<Utc>) -> Result<Self> {
        let onboarding = AuditContext::new(Actor::service_account(ActorId::from_static("onboarding")))
            .with_correlation_id("onboarding-2")
            .with_request_id(chance.id());
        let mut houses = scribe.write(
            first,
            &onboarding,
            Action::new("organization.founded").category("accounts").reason("signed up for a year"),
            |conn| {
                let new: Vec<_> = FOUNDED.into_iter().map(|name| organizations::name.eq(name)).collect();
                diesel::insert_into(organizations::table).values(new).execute(conn)?;
                let is_ours = organizations::name.ne("Pressroom");
                let houses: Vec<(i64, String)> =
                    organizations::table.filter(is_ours).order(organizations::id).load(conn)?;
                let mut of = Vec::new();
                for (id, name) in houses {
                    let members = users::table.filter(users::organization_id.eq(id)).select(users::id);
                    let members = members.order(users::id).load(conn)?;
                    of.push(House { id, name, members, posts: Vec::new(), comments: Vec::new() });
                }
                Ok(of)
            },
        )?;
        let mut moment = first;
        for (organization, name) in JOIN {
            moment += TimeDelta::seconds(i64::from(60 + chance.below(400)));
            let house = houses.iter_mut().find(|house| house.name == organization);
            let house = house.expect("each of them is in the list");
            let context = match house.members.first() {
                Some(&owner) => context_of(chance, owner),
                None => onboarding.clone(),
            };
            house.join(scribe, moment, &context, name)?;
        }
        Ok(Self { houses })
    }
}

impl Platform {
    pub(super) fn named(&self, name: &str) -> Result<&House> {
        self.houses.iter().find(|house| house.name == name).with_context(|| format!("there is no `{name}`"))
    }
}

impl House {
    /// Somebody new: an account and a membership in one transaction, as the application's own route has it.
    pub(super) fn join(
        &mut self,
        scribe: &mut Scribe<'_>,
        at: DateTime<Utc>,
        context: &AuditContext,
        name: &str,
    ) -> Result<()> {
        let (organization_id, role) = (self.id, if self.members.is_empty() { "owner" } else { "writer" });
        let domain = self.name.split(' ').next().unwrap_or("example").to_lowercase();
        let action = Action::new("user.invited").category("accounts");
        let user_id = scribe.write(at, context, action, |conn| {
            let user = NewUser {
                organization_id,
                name: name.to_owned(),
                email: format!("{name}@{domain}.example"),
                password_hash: "!".to_owned(),
            };
            let user_id: i64 = diesel::insert_into(users::table)
                .values((user, users::created_at.eq(at)))
                .returning(users::id)
                .get_result(conn)?;
            let membership = Membership { organization_id, user_id, role: role.to_owned() };
            diesel::insert_into(memberships::table).values(membership).execute(conn)?;
            Ok(user_id)
        })?;
        self.members.push(user_id);
        Ok(())
    }
}

/// A request of a user's, with an id that is its correlation id as well.
pub(super) fn context_of(chance: &mut Chance, user: i64) -> AuditContext {
    let id = chance.id();
    let last = u8::try_from(user.rem_euclid(200) + 10).unwrap_or(10);
    AuditContext::new(Actor::user(user))
        .with_request_id(id.clone())
        .with_correlation_id(id)
        .with_remote_addr(IpAddr::V4(Ipv4Addr::new(203, 0, 113, last)))
}
