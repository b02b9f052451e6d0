//! One transaction: who, when, why, and everything it changed.

use actix_web::HttpResponse;
use askama::Template;
use threadline::{AuditAction, AuditTransaction, Filter, IncidentBundle, PageRequest, RowKey};
use uuid::Uuid;

use crate::surface::access::Capability;
use crate::surface::diff::{self, FieldView};
use crate::surface::entry::{ActionTag, Badge, Correlation, Group, Who, key_text, row_link, table_text};
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::Moment;
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

#[derive(Template)]
#[template(path = "surface/transaction.html")]
struct TransactionPage {
    shell: Shell,
    id: String,
    when: Option<Moment>,
    who: Who,
    action: Option<ActionTag>,
    correlation: Option<Correlation>,
    facts: Vec<Fact>,
    meta: Option<String>,
    actions: Vec<ActionView>,
    changes: Vec<ChangeView>,
    has_more: bool,
    neighbours: Vec<Group>,
    next: Vec<(&'static str, String)>,
    command: String,
}

/// Something that is known of the transaction.
struct Fact {
    name: &'static str,
    value: String,
    href: Option<String>,
}

struct ActionView {
    tag: ActionTag,
    when: Moment,
    category: Option<String>,
    reason: Option<String>,
    comment: Option<String>,
}

pub(in crate::surface) struct ChangeView {
    pub(in crate::surface) badge: Badge,
    pub(in crate::surface) table: String,
    pub(in crate::surface) key: String,
    pub(in crate::surface) row: Option<String>,
    pub(in crate::surface) when: Moment,
    pub(in crate::surface) fields: Vec<FieldView>,
    pub(in crate::surface) moved_from: Option<String>,
}

/// The transaction of the path.
pub(in crate::surface) async fn transaction(visit: &Visit) -> Result<HttpResponse, Failure> {
    let id = Uuid::try_parse(visit.segment("id")).map_err(|_| Failure::NotFound)?;
    let unknown = visit.query().unknown(&[]);
    if !unknown.is_empty() {
        return Err(Failure::Invalid(unknown));
    }
    let (bundle, keys, neighbours) = visit
        .read(move |conn, trail| {
            let Some(bundle) = trail.incident_bundle(conn, id)? else {
                return Ok(None);
            };
            let page = PageRequest::new().size(PageRequest::MAX_SIZE)?.order(threadline::Order::OldestFirst);
            let keys = trail.audit_changes_for_transaction(conn, id, &page)?.entries;
            let keys: Vec<Option<RowKey>> = keys.into_iter().map(|change| change.key).collect();
            let correlation =
                bundle.transaction.as_ref().and_then(|transaction| transaction.correlation_id.clone());
            let neighbours = match correlation {
                Some(id) => {
                    let filter = Filter::new().transaction_correlation_id(id);
                    trail.timeline_page(conn, &filter, &PageRequest::new().size(20)?)?.entries
                }
                None => Vec::new(),
            };
            Ok(Some((bundle, keys, neighbours)))
        })
        .await?
        .ok_or(Failure::NotFound)?;
    let neighbours: Vec<_> =
        neighbours.into_iter().filter(|change| change.change.id.transaction_id != id).collect();
    let IncidentBundle { transaction, actions, changes, has_more, .. } = &bundle;
    let first = changes.first().map(|change| change.captured_at);
    let at = transaction.as_ref().map(|transaction| transaction.occurred_at).or(first);
    let name = actions.first().map_or_else(|| id.to_string(), |action| shown(&action.name));
    visit.page(&TransactionPage {
        shell: visit.shell().about(&name),
        id: id.to_string(),
        when: at.map(|at| visit.moment(at)),
        who: Who::new(
            visit,
            transaction.as_ref().and_then(AuditTransaction::actor),
            transaction.as_ref().map(|transaction| transaction.db_role.as_str()),
        ),
        action: actions.first().map(ActionTag::new),
        correlation: transaction
            .as_ref()
            .and_then(|transaction| transaction.correlation_id.as_deref())
            .map(|id| Correlation::new(visit, id)),
        facts: transaction.as_ref().map(|transaction| facts(visit, transaction)).unwrap_or_default(),
        meta: transaction
            .as_ref()
            .and_then(|transaction| transaction.meta.as_ref())
            .map(|meta| shown(meta.as_str())),
        actions: actions.iter().map(|action| ActionView::new(visit, action)).collect(),
        changes: changes
            .iter()
            .zip(keys)
            .map(|(change, key)| ChangeView {
                badge: diff::badge(change.op),
                table: table_text(&change.table),
                key: key_text(key.as_ref(), &change.row_key),
                row: key.as_ref().map(|key| visit.href(&row_link(&change.table, key))),
                when: visit.moment(change.captured_at),
                fields: diff::fields(change, visit.reading()),
                moved_from: change.previous_row_key.as_deref().map(shown),
            })
            .collect(),
        has_more: *has_more,
        neighbours: Group::all(visit, &neighbours),
        next: next(visit, id, transaction.as_ref()),
        command: format!("threadline incident {id}"),
    })
}

/// Where to go on from here.
fn next(visit: &Visit, id: Uuid, transaction: Option<&AuditTransaction>) -> Vec<(&'static str, String)> {
    let mut next = vec![(
        "What undoing it would take",
        visit.href(&Link::to("undo").with("transaction", id.to_string())),
    )];
    let of =
        |name: &'static str, id: &str| visit.href(&Link::to("exports").with(name, id).with("window", "all"));
    // An export asks for what changes have in common, and those of a transaction have their request.
    let request = transaction.and_then(|transaction| transaction.request_id.as_deref());
    let correlation = transaction.and_then(|transaction| transaction.correlation_id.as_deref());
    if visit.permissions.has(Capability::Exports) {
        match (request, correlation) {
            (Some(id), _) => next.push(("Export what its request changed", of("request_id", id))),
            (None, Some(id)) => {
                next.push(("Export what its correlation changed", of("transaction_correlation_id", id)));
            }
            (None, None) => {}
        }
    }
    next.push(("The same as JSON", visit.href(&Link::to(format!("api/transactions/{id}")))));
    next
}

fn facts(visit: &Visit, transaction: &AuditTransaction) -> Vec<Fact> {
    let timeline = |name: &'static str, value: &str| {
        Some(visit.href(&Link::to("timeline").with(name, value).with("window", "all")))
    };
    let mut facts = Vec::new();
    let mut add = |name, value: Option<&str>, href: Option<String>| {
        if let Some(value) = value {
            facts.push(Fact { name, value: shown(value), href });
        }
    };
    let request = transaction.request_id.as_deref();
    add("Request", request, request.and_then(|id| timeline("request_id", id)));
    let job = transaction.job_id.as_deref();
    add("Job", job, job.and_then(|id| timeline("job_id", id)));
    add("From", transaction.remote_addr.as_deref(), None);
    add("Database role", Some(&transaction.db_role), timeline("db_role", &transaction.db_role));
    add("Application", transaction.application_name.as_deref(), None);
    add("Database client", transaction.client_addr.as_deref(), None);
    add("Context refused", transaction.context_error.as_deref(), None);
    facts
}

impl ActionView {
    fn new(visit: &Visit, action: &AuditAction) -> Self {
        let text = |text: &Option<String>| text.as_deref().map(shown);
        Self {
            tag: ActionTag::new(action),
            when: visit.moment(action.occurred_at),
            category: text(&action.category),
            reason: text(&action.reason),
            comment: text(&action.comment),
        }
    }
}
