//! What `#[threadline(..)]` on a Diesel model means.
//!
//! A model is read twice: by `#[derive(Audited)]` when the host compiles, and by `threadline generate`, which reads the
//! same sources without compiling them. Both go through [`AuditedModel::from_derive_input`], so a model means one thing.
//!
//! ```
//! use threadline_model::AuditedModel;
//!
//! let input = syn::parse_str(
//!     "#[derive(Audited)] #[diesel(table_name = users)] #[threadline(exclude(password_hash))] struct User { id: i64 }",
//! )?;
//! let model = AuditedModel::from_derive_input(&input)?;
//! assert_eq!(model.exclude[0], "password_hash");
//! assert_eq!(model.key_columns()[0], "id");
//! # Ok::<(), syn::Error>(())
//! ```

mod attr;
mod model;
mod option;
mod rules;

pub use crate::model::{ActorPolicy, AuditedModel, OnTruncate};
