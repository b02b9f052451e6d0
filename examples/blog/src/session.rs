//! Who is asking, and the transaction their changes are made in.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, web};
use diesel::prelude::*;
use diesel::sql_types::Jsonb;
use serde_json::json;

use crate::db::Pool;
use crate::error::ApiError;
use crate::schema::users;

/// The header that says who is asking. It is believed: a real application has a login in its place.
const USER_HEADER: &str = "x-demo-user";

/// A request of some user's, and the database. Handlers take it as an extractor.
#[derive(Clone)]
pub struct Session {
    user_id: i64,
    pool: web::Data<Pool>,
}

/// The user who is asking, as the database knows them.
#[derive(Clone, Copy, Debug, Queryable, Selectable)]
#[diesel(table_name = users)]
pub struct Member {
    /// The user.
    pub id: i64,
    /// The organization whose rows they may see and change.
    pub organization_id: i64,
}

impl Session {
    /// Runs `work` on the blocking pool in one transaction, whose changes carry the user as their actor.
    ///
    /// # Errors
    ///
    /// What `work` returns, and [`ApiError::Unauthorized`] when there is no such user; then nothing was written.
    pub async fn write<T, W>(self, work: W) -> Result<T, ApiError>
    where
        T: Send + 'static,
        W: FnOnce(&mut PgConnection, Member) -> Result<T, ApiError> + Send + 'static,
    {
        web::block(move || {
            self.pool.get()?.transaction(|conn| {
                let member = self.member(conn)?;
                set_actor(conn, member)?;
                work(conn, member)
            })
        })
        .await?
    }

    /// As [`write`](Self::write), for a request that changes nothing: the database refuses it if it tries to.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write).
    pub async fn read<T, W>(self, work: W) -> Result<T, ApiError>
    where
        T: Send + 'static,
        W: FnOnce(&mut PgConnection, Member) -> Result<T, ApiError> + Send + 'static,
    {
        web::block(move || {
            self.pool.get()?.build_transaction().read_only().run(|conn| {
                let member = self.member(conn)?;
                work(conn, member)
            })
        })
        .await?
    }

    fn member(&self, conn: &mut PgConnection) -> Result<Member, ApiError> {
        let member = users::table.find(self.user_id).select(Member::as_select()).first(conn).optional()?;
        member.ok_or(ApiError::Unauthorized)
    }
}

/// Tells Threadline who answers for whatever this transaction will change.
fn set_actor(conn: &mut PgConnection, member: Member) -> QueryResult<()> {
    let context = json!({ "actor": { "type": "user", "id": member.id.to_string() } });
    diesel::sql_query("SELECT threadline.set_context($1)").bind::<Jsonb, _>(context).execute(conn)?;
    Ok(())
}

impl FromRequest for Session {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let header = request.headers().get(USER_HEADER);
        let user_id = header.and_then(|value| value.to_str().ok()?.parse().ok());
        let pool = request.app_data::<web::Data<Pool>>().expect("`server::bind` gives every app the pool");
        ready(user_id.map(|user_id| Self { user_id, pool: pool.clone() }).ok_or(ApiError::Unauthorized))
    }
}
