//! Our own people.

use diesel::prelude::*;
use serde::Serialize;
use threadline::Audited;

use crate::schema::staff;

/// A user who works here, and may look into the audit trail: an `admin` into all of it, `support` into what concerns the one
/// organization they look after. That somebody was made one is in the trail as well.
#[derive(Debug, Clone, PartialEq, Serialize, Queryable, Selectable, Identifiable, Insertable, Audited)]
#[diesel(table_name = staff, primary_key(user_id))]
pub struct Staff {
    /// The user.
    pub user_id: i64,
    /// `admin` or `support`.
    pub role: String,
    /// The organization that is supported; `None` for an admin.
    pub organization_id: Option<i64>,
}
