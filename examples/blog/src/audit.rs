//! The pages for operators, at `/audit`: who may see what of the trail.
//!
//! They span all organizations, so being signed in does not do: an admin of ours sees everything, support sees the one
//! organization they look after and may export of that, and nobody else is let in.

use actix_session::SessionExt;
use actix_web::{Error, HttpMessage, HttpRequest, web};
use diesel::prelude::*;
use threadline::Scope;
use threadline::config::Config;
use threadline_actix::AuditedPool;
use threadline_actix::surface::{Access, SurfaceConfig};
use threadline_worker::{Storage, StorageError};

use crate::error::ApiError;
use crate::models::Staff;
use crate::schema::{organizations, staff};
use crate::session;

/// What is mounted at `/audit`. The tables that are left out, what is kept and where exports lie are those of `threadline.toml`.
/// `owner_url` leads to the database as the owner of the trail, who alone can have removed what is due.
///
/// # Errors
///
/// When the storage it names cannot be used.
pub fn pages(pool: &AuditedPool, config: Config, owner_url: &str) -> Result<SurfaceConfig, StorageError> {
    let owner_url = owner_url.to_owned();
    let storage = config.storage.url.as_deref().map(Storage::create).transpose()?;
    let asked = pool.clone();
    let pages = SurfaceConfig::new(pool.clone())
        // It decides about exports as well: without `authorize_export`, what may be seen may be exported.
        .authorize(async move |request: &HttpRequest| access(&asked, request).await)
        .authorize_coverage(admins(pool))
        .authorize_policy(admins(pool))
        .authorize_retention(admins(pool))
        .authorize_evidence(admins(pool))
        .maintenance(move || PgConnection::establish(&owner_url))
        .title("Blog audit")
        .login("/login")
        .home("/posts", "Blog")
        .operation(config);
    Ok(match storage {
        Some(storage) => pages.storage(storage),
        None => pages,
    })
}

/// What a request may see.
async fn access(pool: &AuditedPool, request: &HttpRequest) -> Result<Access, Error> {
    Ok(match viewer(pool, request).await? {
        Some(Viewer::Admin) => Access::allow(),
        Some(Viewer::Support { organization_id, name }) => {
            Access::within(Scope::tenant(organization_id.to_string()), format!("organization {name}"))
        }
        None => Access::deny(),
    })
}

/// Whether it comes from an admin: what is about the whole database rather than one organization is theirs alone.
fn admins(
    pool: &AuditedPool,
) -> impl AsyncFn(&HttpRequest) -> Result<bool, Error> + Send + Sync + use<> + 'static {
    let pool = pool.clone();
    async move |request: &HttpRequest| Ok(matches!(viewer(&pool, request).await?, Some(Viewer::Admin)))
}

/// Somebody who may look.
#[derive(Clone)]
enum Viewer {
    Admin,
    Support { organization_id: i64, name: String },
}

/// Who is looking, if they may: looked up at each request, so that whose role is taken away is out at once. The surface asks
/// several questions about one request, so the answer stays with it.
async fn viewer(pool: &AuditedPool, request: &HttpRequest) -> Result<Option<Viewer>, Error> {
    #[derive(Clone)]
    struct Found(Option<Viewer>);

    if let Some(Found(viewer)) = request.extensions().get::<Found>() {
        return Ok(viewer.clone());
    }
    let viewer = match session::user_id(&request.get_session()) {
        None => None,
        Some(user_id) => {
            let pool = pool.clone();
            web::block(move || pool.read(|conn| of_user(conn, user_id))).await??
        }
    };
    request.extensions_mut().insert(Found(viewer.clone()));
    Ok(viewer)
}

fn of_user(conn: &mut PgConnection, user_id: i64) -> Result<Option<Viewer>, ApiError> {
    let Some(staff) = staff_member(conn, user_id)? else { return Ok(None) };
    Ok(match (staff.role.as_str(), staff.organization_id) {
        ("admin", None) => Some(Viewer::Admin),
        ("support", Some(id)) => {
            let name = organizations::table.find(id).select(organizations::name).first(conn)?;
            Some(Viewer::Support { organization_id: id, name })
        }
        // A role that is not known here lets nobody in.
        _ => None,
    })
}

/// The role of a user who works here.
pub(crate) fn staff_member(conn: &mut PgConnection, user_id: i64) -> QueryResult<Option<Staff>> {
    staff::table.find(user_id).select(Staff::as_select()).first(conn).optional()
}
