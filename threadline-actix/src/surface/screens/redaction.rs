//! Redaction: what the trail never has, as it was declared and as it is deployed. Names and options, never a value.

use actix_web::HttpResponse;
use askama::Template;
use threadline::policy::{self, PolicyState, TablePolicy};

use crate::surface::access::Capability;
use crate::surface::entry::table_text;
use crate::surface::failure::Failure;
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;

#[derive(Template)]
#[template(path = "surface/redaction.html")]
struct RedactionPage {
    shell: Shell,
    drifting: Vec<PolicyView>,
    undeclared: Vec<PolicyView>,
    matching: Vec<PolicyView>,
    sees_evidence: bool,
}

struct PolicyView {
    table: String,
    state: String,
    by: Option<String>,
    excluded: Vec<String>,
    masked: Vec<String>,
    differences: Vec<String>,
    remark: Option<&'static str>,
    fix: String,
}

/// The policy of each table.
pub(in crate::surface) async fn redaction(visit: &Visit) -> Result<HttpResponse, Failure> {
    let unknown = visit.query().unknown(&[]);
    if !unknown.is_empty() {
        return Err(Failure::Invalid(unknown));
    }
    let report = visit.read(|conn, _| policy::report(conn, &policy::declared_models()?)).await?;
    let of = |is_it: &dyn Fn(PolicyState) -> bool| {
        let tables = report.iter().filter(|table| is_it(table.state));
        tables.map(PolicyView::new).collect::<Vec<_>>()
    };
    let (matches, unknown) = (PolicyState::Matches, PolicyState::Unknown);
    visit.page(&RedactionPage {
        shell: visit.shell(),
        drifting: of(&|state| state != matches && state != unknown),
        undeclared: of(&|state| state == unknown),
        matching: of(&|state| state == matches),
        sees_evidence: visit.permissions.has(Capability::Evidence),
    })
}

impl PolicyView {
    fn new(policy: &TablePolicy) -> Self {
        let names = |names: Option<&Vec<String>>| {
            names.into_iter().flatten().map(|name| shown(name)).collect::<Vec<_>>()
        };
        Self {
            table: table_text(&policy.table),
            state: policy.state.to_string(),
            by: policy.declared_by.as_deref().map(shown),
            excluded: names(policy.redaction.as_ref().map(|redaction| &redaction.excluded)),
            masked: names(policy.redaction.as_ref().map(|redaction| &redaction.masked)),
            differences: policy.differences.iter().map(|difference| shown(&difference.to_string())).collect(),
            remark: policy.remark,
            fix: shown(&policy.fix),
        }
    }
}
