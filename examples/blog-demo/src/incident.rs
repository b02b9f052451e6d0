//! Two incidents, asked about as somebody on call would: from a row to the transaction, and from that to who and why.

use anyhow::{Context, Result};

use crate::client::Client;
use crate::outside::Database;
use crate::report::history_route;
use crate::story::Told;
use crate::trail::{Bundle, History};

/// The transaction that gave the post another title, and the job that followed its publication.
pub(crate) struct Incident {
    pub(crate) edit: Bundle,
    /// Where the application tells of it.
    pub(crate) edit_route: String,
    pub(crate) publication: Bundle,
    pub(crate) job: Bundle,
    job_route: String,
    /// `action`, `actor` and `reason` of what was tried in vain, oldest first.
    pub(crate) failures: Vec<String>,
}

impl Incident {
    /// Asks the application, and `psql` for what no row leads to.
    pub(crate) fn of(client: &Client, database: &Database, told: &Told) -> Result<Self> {
        let history: History = client.get(&told.ann, &history_route(told))?;
        let changed = |column: &str| {
            let version = history.versions.iter().find(|version| version.has_changed(column));
            let version = version.with_context(|| format!("the history has no change of `{column}`"))?;
            Ok::<_, anyhow::Error>(route(&version.transaction_id))
        };
        let (edit_route, publication_route) = (changed("title")?, changed("status")?);
        let publication: Bundle = client.get(&told.ann, &publication_route)?;
        let correlation_id =
            publication.transaction.correlation_id.as_deref().context("each request has one")?;
        let job_route = route(&database.ask(&format!(
            "SELECT id FROM threadline.audit_transactions WHERE job_id IS NOT NULL AND correlation_id = '{correlation_id}'"
        ))?);
        let failures = database.ask(&format!(
            "SELECT format('%-16s %-10s %s', name, concat_ws(' ', actor_type, actor_id), reason) FROM threadline.audit_actions \
             WHERE status = 'error' AND occurred_at >= '{}' ORDER BY occurred_at, id",
            told.began_at
        ))?;
        Ok(Self {
            edit: client.get(&told.ann, &edit_route)?,
            edit_route,
            publication,
            job: client.get(&told.ann, &job_route)?,
            job_route,
            failures: failures.lines().map(str::to_owned).collect(),
        })
    }

    pub(crate) fn print(&self, told: &Told) {
        println!(
            "\nAn incident: \"I never called post {} that, nor is it my price.\" Its history names the",
            told.tides
        );
        println!("transaction that changed the title. What did that do, who was it, and in which request?");
        println!("  GET {}", self.edit_route);
        print(&self.edit);

        println!(
            "\nAnother one: \"Why was I told of post {}?\" A job did it, under the request that published the",
            told.tides
        );
        println!("post: they share the request's id and its correlation id.");
        println!("  GET {}", self.job_route);
        print(&self.job);

        println!(
            "\nWhat was tried in vain, and left nothing but this: threadline.audit_actions WHERE status = 'error'"
        );
        for failure in &self.failures {
            println!("  {failure}");
        }
    }
}

fn route(transaction_id: &str) -> String {
    format!("/api/audit_transactions/{transaction_id}/changes")
}

fn print(bundle: &Bundle) {
    let transaction = &bundle.transaction;
    println!("  who      {}, at {}", transaction.by(), transaction.occurred_at);
    println!("  request  {}", transaction.request_id.as_deref().unwrap_or("none"));
    println!("  part of  {}", transaction.correlation_id.as_deref().unwrap_or("nothing larger"));
    for action in &bundle.actions {
        let reason = action.reason.as_ref().map(|reason| format!(", because {reason}"));
        println!("  action   {}: {}{}", action.name, action.status, reason.unwrap_or_default());
    }
    for change in &bundle.changes {
        println!("  changed  {} {}: {}", change.table, change.row_key, change.op);
        for line in change.lines() {
            println!("      {line}");
        }
    }
}
