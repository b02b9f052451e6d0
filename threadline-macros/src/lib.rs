//! Procedural macros of Threadline. Use them through the `threadline` crate, which pins this one's version.

mod audited;

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
