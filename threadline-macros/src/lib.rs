//! Procedural macros of Threadline. Use them through the `threadline` crate, which pins this one's version.

mod audited;
mod handler;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Makes a Diesel model audited.
///
/// The table and its primary key are taken from `#[diesel(..)]` by Diesel's own rules; what of it is recorded is said in
/// `#[threadline(..)]`, which may be left out, and may be repeated. Every column named there is checked against `table!`.
///
/// ```ignore
/// #[derive(Queryable, Selectable, Identifiable, Audited)]
/// #[diesel(table_name = users)]
/// #[threadline(exclude(password_hash), mask(email), scope(organization_id))]
/// struct User { .. }
/// ```
///
/// | option | says |
/// | --- | --- |
/// | `exclude(column, ..)` | never recorded, neither by value nor by name |
/// | `mask(column, ..)` | recorded as changed, the value replaced by a placeholder |
/// | `mask_placeholder = ".."` | the placeholder, 1 to 200 characters; `[REDACTED]` if left out |
/// | `ignore(column, ..)` | a change of these columns alone is not recorded |
/// | `key(column, ..)` | what identifies a row; the primary key if left out, and never excluded, masked or ignored |
/// | `scope(column)` | the column that holds the tenant |
/// | `schema = ".."` | where the table is, if `table!` does not say it and the search path must not decide |
/// | `on_truncate = ".."` | `record` (default) a marker, `keep` every row, or `refuse` the TRUNCATE |
/// | `actor_policy = ".."` | `allow` (default) or `require` that somebody answers for each write |
#[proc_macro_derive(Audited, attributes(threadline))]
pub fn derive_audited(input: TokenStream) -> TokenStream {
    audited::expand(&parse_macro_input!(input as DeriveInput)).into()
}

/// Runs an actix handler's body in an audited transaction. Use it as `threadline_actix::audited`.
///
/// ```ignore
/// #[post("/posts/{id}/publish")]
/// #[audited(action = "post.published", category = "content", require_changes)]
/// async fn publish(conn: &mut PgConnection, id: web::Path<i64>) -> Result<&'static str, AppError> {
///     diesel::update(posts::table.find(*id)).set(posts::status.eq("published")).execute(conn)?;
///     Ok("published")
/// }
/// ```
///
/// It goes on an `async fn` that returns a `Result`, above or below the route's attribute, and above an attribute that
/// rewrites the body. The one `&mut` parameter is the connection; one `&` parameter may be the open transaction
/// (`&OpenTransaction`), which has the id; the others are extractors. The body runs once, on actix's pool for blocking work,
/// and does not `.await`. `Ok` commits, whatever its status; `Err` and a panic roll back; a client that goes away changes
/// nothing about it. The error type takes in `threadline_actix::Error` by `From`.
///
/// | option | says |
/// | --- | --- |
/// | `action = ".."` | what is done; any expression that yields a text, also from the handler's arguments |
/// | `verb`, `category`, `reason`, `comment` `= ".."` | more about the action |
/// | `capture_only` | there is no action, only a context |
/// | `require_changes` | it is an error when no change is captured |
/// | `record_failures` | when it fails, the action is recorded with the status `error`, in a transaction of its own |
/// | `allow_missing_actor` | it runs for a request that nobody answers for |
/// | `isolation = ".."` | `read_committed`, `repeatable_read` or `serializable`; the server's default if left out |
/// | `response_header` | the response has the transaction's id in `x-audit-transaction-id` |
#[proc_macro_attribute]
pub fn audited(options: TokenStream, item: TokenStream) -> TokenStream {
    handler::expand(options.into(), item.into()).into()
}
