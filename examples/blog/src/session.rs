//! Who is signed in: the user's id in a cookie that only this application can read and write.
//!
//! There is nothing on the server to look up, and so nothing to revoke: a session ends when the browser forgets it, the user is
//! deleted, or the key is changed. An application that has to end single sessions keeps them in a store.

use std::future::{Ready, ready};

use actix_session::config::CookieContentSecurity;
use actix_session::storage::CookieSessionStore;
use actix_session::{Session, SessionExt, SessionMiddleware};
use actix_web::cookie::{Key, SameSite};
use actix_web::dev::{Payload, ServiceRequest};
use actix_web::{FromRequest, HttpRequest};
use diesel::prelude::*;
use threadline_actix::Actor;

use crate::error::ApiError;
use crate::schema::users;

const USER_ID: &str = "user_id";

/// The key of the cookie, from a secret of at least 32 bytes. Without one it is made up, and nobody stays signed in when the
/// application starts again.
///
/// # Errors
///
/// When the secret is shorter.
pub fn key(secret: Option<&str>) -> Result<Key, &'static str> {
    match secret {
        Some(secret) if secret.len() < 32 => Err("SESSION_KEY is shorter than 32 bytes"),
        Some(secret) => Ok(Key::derive_from(secret.as_bytes())),
        None => {
            log::warn!("SESSION_KEY is not set: sessions end with this process");
            Ok(Key::generate())
        }
    }
}

/// Reads and writes the cookie. Browsers and curl keep a `Secure` one without TLS too, where the host is the loopback address.
pub(crate) fn middleware(key: Key) -> SessionMiddleware<CookieSessionStore> {
    SessionMiddleware::builder(CookieSessionStore::default(), key)
        .cookie_name("blog_session".into())
        .cookie_content_security(CookieContentSecurity::Private)
        .cookie_same_site(SameSite::Lax)
        .cookie_http_only(true)
        .cookie_secure(true)
        .build()
}

/// Tells Threadline who makes a request. The whole of who-did-it is here: no handler says it again.
pub(crate) async fn actor(request: &ServiceRequest) -> actix_web::Result<Option<Actor>> {
    Ok(user_id(&request.get_session()).map(Actor::user))
}

/// Signs the user in, under a new session.
pub(crate) fn begin(session: &Session, user_id: i64) -> Result<(), ApiError> {
    session.renew();
    session.insert(USER_ID, user_id).map_err(ApiError::internal)
}

/// Who is signed in; `None` for nobody.
pub(crate) fn user_id(session: &Session) -> Option<i64> {
    // A cookie with something else in it is as good as none.
    session.get(USER_ID).ok().flatten()
}

/// The user a request comes from. As an extractor it refuses a request of nobody's.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SignedIn {
    user_id: i64,
}

/// The user who is asking, as the database knows them.
#[derive(Clone, Copy, Debug, Queryable, Selectable)]
#[diesel(table_name = users)]
pub(crate) struct Member {
    /// The user.
    pub(crate) id: i64,
    /// The organization whose rows they may see and change.
    pub(crate) organization_id: i64,
}

impl SignedIn {
    /// Looks the user up, in the transaction that is about to act for them: they may be gone since they signed in.
    pub(crate) fn member(self, conn: &mut PgConnection) -> Result<Member, ApiError> {
        let member = users::table.find(self.user_id).select(Member::as_select()).first(conn).optional()?;
        member.ok_or(ApiError::Unauthorized)
    }
}

impl FromRequest for SignedIn {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let user_id = user_id(&request.get_session());
        ready(user_id.map(|user_id| Self { user_id }).ok_or(ApiError::Unauthorized))
    }
}
