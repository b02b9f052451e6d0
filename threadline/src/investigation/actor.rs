//! What an actor did, transaction by transaction.

use chrono::TimeDelta;
use diesel::prelude::*;
use uuid::Uuid;

use super::change::AuditTransaction;
use super::filter::{Filter, InvalidFilter};
use super::page::{Page, PageRequest, Place};
use super::scan::{Place as IndexPlace, first_id_at};
use super::scope::Surface;
use super::statement::Statement;
use super::timeline::Who;
use super::trail::Trail;
use super::transaction::LinkedTransaction;
use crate::error::Error;
use crate::intent::Actor;

impl Trail {
    /// A page of the transactions of this actor, in the order in which they began, by the millisecond; those that only
    /// recorded an action are among them. Of the filter, `from` and `to` are used, both inclusive and about the beginning of the
    /// transaction.
    ///
    /// Only what was done under that name is the anonymous actor's: what was done while nobody was named is nobody's.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidFilter`] when the filter asks for anything else, [`Error::InvalidPage`] for a cursor of another list or
    /// order, [`Error::ScopeFailed`], and those of the database.
    pub fn actor_history(
        &self,
        conn: &mut PgConnection,
        actor: &Actor,
        filter: &Filter,
        request: &PageRequest,
    ) -> Result<Page<LinkedTransaction>, Error> {
        filter.check()?;
        if let Some((name, _)) = filter.pairs().iter().find(|(name, _)| !matches!(*name, "from" | "to")) {
            return Err(InvalidFilter::one(format!(
                "{name}: transactions of an actor are asked for by from and to"
            ))
            .into());
        }
        let after = request.after_id()?;
        self.read(conn, Surface::ActorHistory, |conn, scope| {
            let first = filter.from.map_or(Uuid::nil(), |from| first_id_at(from, TimeDelta::zero()));
            let past = filter.to.map_or(Uuid::max(), |to| first_id_at(to, TimeDelta::milliseconds(1)));
            let place = IndexPlace::of_actor("t", actor);
            let mut statement = Statement::new(&format!(
                "SELECT {} FROM threadline.audit_transactions t WHERE ",
                AuditTransaction::COLUMNS
            ));
            place.write(&mut statement, "t.id", &(first..past), request.direction());
            if let Some(from) = filter.from {
                statement.sql(" AND t.occurred_at >= ").bind(from);
            }
            if let Some(to) = filter.to {
                statement.sql(" AND t.occurred_at <= ").bind(to);
            }
            if let Some(after) = after {
                statement.sql(" AND t.id ").sql(request.direction().onwards()).sql(" ").bind(after);
            }
            if let Some(scope) = scope {
                statement.sql(" AND ");
                scope.of_transaction(&mut statement);
            }
            statement.sql(&place.order("t.id", request.direction().sql()));
            statement.sql(&format!(" LIMIT {}", request.wanted() + 1));
            let found: Vec<AuditTransaction> = statement.load_from(conn)?;
            Page::cut(found, request, |transaction| Place::Id(transaction.id)).try_map(|transactions| {
                let actions = Who::actions(conn, &transactions)?;
                let link = |transaction: AuditTransaction| LinkedTransaction {
                    action: transaction.action_id.and_then(|id| actions.get(&id).cloned()),
                    transaction,
                };
                Ok(transactions.into_iter().map(link).collect())
            })
        })
    }
}
