//! What the application said it did: actions, also those that failed and those that changed nothing.

use chrono::TimeDelta;
use diesel::prelude::*;
use uuid::Uuid;

use super::change::AuditAction;
use super::filter::{ActorFilter, Filter, InvalidFilter};
use super::page::{Page, PageRequest, Place};
use super::scan::{Place as IndexPlace, first_id_at, of_actors};
use super::scope::Surface;
use super::statement::Statement;
use super::trail::Trail;
use crate::error::Error;

/// What a filter can ask of changes and not of actions.
const OF_CHANGES: [&str; 6] = ["table", "schema", "key", "op", "column", "transaction_correlation_id"];

/// The category of looks at the trail, which would bury what was done.
const LOOKS: &str = "threadline.access";

impl Trail {
    /// A page of the recorded actions, in the order of their transactions' beginnings by the millisecond; an action recorded
    /// on its own stands where it was recorded. Those that failed and those without changes are among them; looks at the trail
    /// itself, of the category `threadline.access`, are not, unless the filter names a category or an action.
    ///
    /// Of the filter, `action`, `status`, `category`, `actor`, `correlation_id`, `request_id`, `job_id`, `db_role`, `from` and
    /// `to` are used, all about the action itself; `from` and `to` are about when it was recorded, both inclusive. Under a
    /// scope, an action is visible when its transaction is, so those recorded on their own are not.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidFilter`] when the filter asks for anything else, [`Error::InvalidPage`] for a cursor of another list or
    /// order, [`Error::ScopeFailed`], and those of the database.
    pub fn actions(
        &self,
        conn: &mut PgConnection,
        filter: &Filter,
        request: &PageRequest,
    ) -> Result<Page<AuditAction>, Error> {
        filter.check()?;
        let foreign = filter.set_among(&OF_CHANGES);
        if !foreign.is_empty() {
            return Err(InvalidFilter::one(format!(
                "{}: asks about changes, not actions",
                foreign.join(", ")
            ))
            .into());
        }
        let after = request.after_id()?;
        // The transaction began before the action was recorded.
        let ids = Uuid::nil()..filter.to.map_or(Uuid::max(), |to| first_id_at(to, TimeDelta::minutes(1)));
        self.read(conn, Surface::Actions, |conn, scope| {
            let mut statement = Statement::new(&format!(
                "SELECT {} FROM threadline.audit_actions a WHERE true",
                AuditAction::COLUMNS
            ));
            let place = place_of(filter);
            if let Some(place) = &place {
                statement.sql(" AND ");
                place.write(&mut statement, "a.id", &ids, request.direction());
            }
            of_actors(&mut statement, "a", &filter.actors);
            filter.of_action(&mut statement);
            if filter.actions.is_empty() && filter.categories.is_empty() {
                statement.sql(" AND a.category IS DISTINCT FROM ").bind(LOOKS);
            }
            let texts = [
                ("a.request_id", &filter.request_id),
                ("a.job_id", &filter.job_id),
                ("a.db_role", &filter.db_role),
            ];
            for (column, text) in texts {
                if let Some(text) = text {
                    statement.sql(" AND ").sql(column).sql(" = ").bind(text);
                }
            }
            if let Some(from) = filter.from {
                statement.sql(" AND a.occurred_at >= ").bind(from);
            }
            if let Some(to) = filter.to {
                statement.sql(" AND a.occurred_at <= ").bind(to);
                statement.sql(" AND a.id < ").bind(ids.end);
            }
            if let Some(after) = after {
                statement.sql(" AND a.id ").sql(request.direction().onwards()).sql(" ").bind(after);
            }
            if let Some(scope) = scope {
                statement.sql(" AND EXISTS (SELECT FROM threadline.audit_transactions t WHERE t.id = a.transaction_id AND ");
                scope.of_transaction(&mut statement);
                statement.sql(")");
            }
            let direction = request.direction().sql();
            let order = place.map_or_else(
                || format!(" ORDER BY a.id {direction}"),
                |place| place.order("a.id", direction),
            );
            statement.sql(&order).sql(&format!(" LIMIT {}", request.wanted() + 1));
            let found: Vec<AuditAction> = statement.load_from(conn)?;
            Ok(Page::cut(found, request, |action| Place::Id(action.id)))
        })
    }
}

/// The place of an index where all of them lie, if there is one.
fn place_of(filter: &Filter) -> Option<IndexPlace> {
    match (&filter.correlation_id, &filter.actions[..], &filter.actors[..]) {
        (Some(id), ..) => Some(IndexPlace::at("a.correlation_id", id)),
        (None, [name], _) => Some(IndexPlace::at("a.name", name)),
        (None, _, [ActorFilter::Named(actor)]) => Some(IndexPlace::of_actor("a", actor)),
        _ => None,
    }
}
