//! Everything one transaction did, for the members of the organization it did it to.

use std::collections::BTreeMap;

use actix_web::{Responder, get, web};
use chrono::{DateTime, Utc};
use serde::Serialize;
use threadline::{
    ActionStatus, Actor, AuditAction, AuditTransaction, FieldChange, RowImage, TableChange, Trail,
    TransactionBundle,
};
use threadline_actix::Audit;
use uuid::Uuid;

use super::NoParameters;
use crate::error::ApiError;
use crate::session::{Member, SignedIn};

pub(super) fn routes(config: &mut web::ServiceConfig) {
    config.service(changes);
}

#[get("/audit_transactions/{id}/changes")]
async fn changes(
    caller: SignedIn,
    audit: Audit,
    id: web::Path<Uuid>,
    _: web::Query<NoParameters>,
) -> Result<impl Responder, ApiError> {
    let bundle = audit
        .read(move |conn| {
            let member = caller.member(conn)?;
            let bundle =
                Trail::unscoped().transaction_context(conn, *id)?.filter(|bundle| is_of(member, bundle));
            bundle.ok_or(ApiError::NotFound)
        })
        .await?;
    Ok(web::Json(BundleView::from(bundle)))
}

/// Whether all that was changed belongs to the organization of `member`, and did before. What changed nothing is nobody's.
fn is_of(member: Member, bundle: &TransactionBundle) -> bool {
    let organization = member.organization_id.to_string();
    let is_own = |TableChange { change, .. }: &TableChange| {
        change.scope.as_ref() == Some(&organization)
            && change.previous_scope.as_ref().is_none_or(|previous| *previous == organization)
    };
    !bundle.changes.is_empty() && bundle.changes.iter().all(is_own)
}

/// Less of it than the library knows: no addresses, and nothing of the database's own.
#[derive(Serialize)]
struct BundleView {
    transaction: Option<TransactionView>,
    actions: Vec<ActionView>,
    changes: Vec<ChangeView>,
}

#[derive(Serialize)]
struct TransactionView {
    occurred_at: DateTime<Utc>,
    actor: Option<Actor>,
    request_id: Option<String>,
    correlation_id: Option<String>,
    job_id: Option<String>,
}

#[derive(Serialize)]
struct ActionView {
    name: String,
    status: ActionStatus,
    category: Option<String>,
    reason: Option<String>,
}

#[derive(Serialize)]
struct ChangeView {
    table: String,
    op: String,
    row_key: String,
    /// For an update, each changed column with its value before and after.
    changed: BTreeMap<String, FieldChange>,
    /// The row that an insert made or a delete took.
    row: Option<RowImage>,
}

impl From<TransactionBundle> for BundleView {
    fn from(bundle: TransactionBundle) -> Self {
        Self {
            transaction: bundle.transaction.map(TransactionView::from),
            actions: bundle.actions.into_iter().map(ActionView::from).collect(),
            changes: bundle.changes.into_iter().map(ChangeView::from).collect(),
        }
    }
}

impl From<AuditTransaction> for TransactionView {
    fn from(transaction: AuditTransaction) -> Self {
        Self {
            occurred_at: transaction.occurred_at,
            actor: transaction.actor(),
            request_id: transaction.request_id,
            correlation_id: transaction.correlation_id,
            job_id: transaction.job_id,
        }
    }
}

impl From<AuditAction> for ActionView {
    fn from(action: AuditAction) -> Self {
        let AuditAction { name, status, category, reason, .. } = action;
        Self { name, status, category, reason }
    }
}

impl From<TableChange> for ChangeView {
    fn from(TableChange { table, mut change, row, .. }: TableChange) -> Self {
        for ignored in &change.ignored {
            change.fields.remove(ignored);
        }
        Self {
            table: table.name().to_owned(),
            op: change.op.to_string(),
            row_key: change.row_key,
            changed: change.fields,
            row,
        }
    }
}
