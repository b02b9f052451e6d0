//! The pages for operators, as each role gets them.

use anyhow::Result;
use blog::seed::{SEEDED, STAFF};
use serde_json::Value;

use crate::app::{App, PASSWORD};
use crate::check::Checks;
use crate::client::{Client, User};
use crate::outside::Database;
use crate::story::{Told, log_in};

/// The pages that need more than to be let in.
const ADMIN_PAGES: [&str; 4] = ["coverage", "redaction", "retention", "evidence"];

/// Who can look at them, and where.
pub(crate) fn print(app: &App, database: &Database) -> Result<()> {
    let url = app.url();
    println!(
        "\nThe audit pages: log in at {url}/login, then open {url}/audit/. The password is `{PASSWORD}`."
    );
    for (role, email, sees) in [
        ("admin", STAFF[0], "everything"),
        ("support", STAFF[1], "what belongs to Harbour Weekly, and may export it"),
        ("user", SEEDED[0], "nothing: she writes posts, and is not let in"),
    ] {
        println!("  {role:<8} {email:<24} sees {sees}");
    }
    let escaped = database.ask(
        "SELECT 'rows?table=posts&key=' || c.row_key FROM threadline.audit_changes c \
         JOIN threadline.audit_transactions t ON t.id = c.transaction_id WHERE t.correlation_id = 'ticket-4690'",
    )?;
    println!("Worth a look, as the admin:");
    for (what, page) in [
        ("posts that were deleted by mistake, and their return", "correlations?id=ticket-4711"),
        ("an archive of 400 posts that came in one night", "correlations?id=import-lakeside-archive"),
        ("a write that escaped capture", &escaped),
        ("a table that was emptied", "timeline?window=30d&op=truncate"),
    ] {
        println!("  {what:<52} {url}/audit/{page}");
    }
    Ok(())
}

/// Whether each role gets what it should, and no more.
pub(crate) fn check(checks: &mut Checks, client: &Client, database: &Database, told: &Told) -> Result<()> {
    let [mira, jo] = STAFF;
    let (admin, support) = (log_in(client, "mira", mira)?, log_in(client, "jo", jo)?);
    let page = |user: &User, page: &str| client.request(user, "GET", &format!("/audit/{page}"), &Value::Null);
    let tides = format!("rows?table=posts&key={}", told.tides);
    let ridge = format!("rows?table=posts&key={}", told.ridge);

    for path in ["", "timeline?window=30d", "actions?window=30d", &tides, &ridge] {
        checks.equal(&format!("the admin sees audit/{path}"), &page(&admin, path)?.status, &200);
    }
    for path in ADMIN_PAGES {
        checks.equal(&format!("the admin sees {path}"), &page(&admin, path)?.status, &200);
        checks.equal(&format!("support does not see {path}"), &page(&support, path)?.status, &403);
    }
    let days = database.ask(
        "SELECT count(DISTINCT captured_at::date) >= 20 AND count(*) > 2000 FROM threadline.audit_changes",
    )?;
    checks.equal("there is a month to look through", &days, &"t");
    let astray = database.ask(
        "SELECT count(*) FROM threadline.audit_changes c LEFT JOIN threadline.audit_transactions t ON t.id = c.transaction_id \
         WHERE t.id IS NULL OR c.captured_at NOT BETWEEN t.occurred_at AND t.occurred_at + interval '1 minute' \
            OR threadline.instant_of(t.id) <> date_trunc('milliseconds', t.occurred_at)",
    )?;
    checks.equal("each change is when its transaction is", &astray, &"0");
    let gone = page(&admin, "correlations?id=ticket-4711")?.body;
    checks.equal(
        "the mistake is there, and its repair",
        &(gone.contains("posts.cleaned_up") && gone.contains("posts.restored")),
        &true,
    );
    let gap = page(&admin, "correlations?id=ticket-4690")?.body;
    checks.equal("and the ticket of the write that escaped", &gap.contains("99"), &true);

    let own = page(&support, &tides)?;
    checks.equal("support sees a post of the organization they look after", &own.status, &200);
    checks.equal(
        "and that it is all they see",
        &own.body.contains("Limited to organization Harbour Weekly"),
        &true,
    );
    checks.equal("its title is there", &own.body.contains("High tides"), &true);
    let foreign = page(&support, &ridge)?.body;
    checks.equal("another organization's post is not", &foreign.contains("The ridge"), &false);
    let import = "correlations?id=import-lakeside-archive";
    checks.equal("the admin sees an import", &page(&admin, import)?.body.contains("posts.imported"), &true);
    let import = page(&support, import)?.body;
    checks.equal("support sees none, which was another's", &import.contains("posts.imported"), &false);
    for path in ["", "timeline", "coverage", &tides] {
        checks.equal(&format!("ann is not let in to audit/{path}"), &page(&told.ann, path)?.status, &403);
        let nobody = client.request_of_nobody("GET", &format!("/audit/{path}"), &Value::Null)?;
        checks.equal(&format!("nor is nobody to audit/{path}"), &nobody.status, &403);
    }
    Ok(())
}
