//! What an actor did, transaction by transaction.

use diesel::prelude::*;

use super::change::AuditTransaction;
use super::filter::{ActorFilter, Filter, InvalidFilter};
use super::page::{Page, PageRequest, Place};
use super::scan::{first_id_at, of_actor};
use super::scope::Surface;
use super::statement::Statement;
use super::timeline::{Entry, Who};
use super::trail::{Trail, in_one_snapshot};
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
        in_one_snapshot(conn, |conn| {
            let scope = self.scope(conn, Surface::ActorHistory)?;
            let mut statement = Statement::new(
                "SELECT to_jsonb(t)::text AS entry FROM threadline.audit_transactions t WHERE ",
            );
            of_actor(&mut statement, "t", &ActorFilter::Named(actor.clone()));
            if let Some(from) = filter.from {
                statement.sql(" AND t.occurred_at >= ").bind(from);
                statement.sql(" AND t.id >= ").bind(first_id_at(from, chrono::TimeDelta::zero()));
            }
            if let Some(to) = filter.to {
                statement.sql(" AND t.occurred_at <= ").bind(to);
                statement.sql(" AND t.id < ").bind(first_id_at(to, chrono::TimeDelta::milliseconds(1)));
            }
            if let Some(after) = after {
                statement.sql(" AND t.id ").sql(request.direction().onwards()).sql(" ").bind(after);
            }
            if let Some(scope) = scope {
                statement.sql(" AND ");
                scope.of_transaction(&mut statement);
            }
            statement.sql(&format!(
                " ORDER BY t.id {} LIMIT {}",
                request.direction().sql(),
                request.wanted() + 1
            ));
            let found: Vec<AuditTransaction> =
                statement.load_from::<Entry>(conn)?.iter().map(Entry::read).collect::<Result<_, _>>()?;
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
