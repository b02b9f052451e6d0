//! `threadline retention plan`: what a run would remove.

use anyhow::Result;
use indicatif::{HumanBytes, HumanCount};
use serde::Serialize;
use threadline::retention::{self, RetentionPlan, RetentionPolicy};

use crate::Outcome;
use crate::configuration::ConfigArgs;
use crate::database::DatabaseArgs;
use crate::output::{DIM, Line, Output, OutputArgs, Table, when};

/// Show what a run would remove now, exactly, and remove nothing
///
/// Counts what is due by the windows and under no hold, month by month, and says how long that takes by what earlier runs took.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Document<'a> {
    /// Whether what leaves is archived first.
    archive: bool,
    plan: &'a RetentionPlan,
}

pub(super) fn run(args: &Args) -> Result<Outcome> {
    let config = args.config.load()?.config;
    let policy = RetentionPolicy::from(&config.retention);
    let mut conn = args.database.connect()?;
    let plan = retention::plan(&mut conn, &policy, config.retention.archive)?;
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Document { archive: config.retention.archive, plan: &plan })?;
    } else {
        print(&mut output, &plan, &policy, config.retention.archive)?;
    }
    output.flush()?;
    Ok(Outcome::Done)
}

/// For people.
pub(super) fn print(
    output: &mut Output,
    plan: &RetentionPlan,
    policy: &RetentionPolicy,
    archive: bool,
) -> Result<()> {
    if policy.keeps_trail_for_ever() {
        let text = "the trail is kept for ever: no window is set in `[retention]` of `threadline.toml`";
        output.prose(DIM, "", text)?;
        return Ok(());
    }
    if plan.months.is_empty() && plan.thinned.is_empty() {
        output.line(&Line::new().styled(DIM, format!("nothing is due at {}", when(plan.at))))?;
        return Ok(());
    }
    let count = |count: u64| Line::from(HumanCount(count).to_string());
    let mut table = Table::new(&["MONTH", "GOES", "CHANGES", "TRANSACTIONS", "ACTIONS", "DISK"]);
    for month in &plan.months {
        table.row([
            Line::from(&month.month),
            Line::from(if archive { "whole, archived first" } else { "whole" }),
            count(month.changes),
            count(month.transactions),
            count(month.actions),
            Line::from(HumanBytes(month.bytes).to_string()),
        ]);
    }
    for month in &plan.thinned {
        let batches = if month.batches == 1 { "batch" } else { "batches" };
        table.row([
            Line::from(&month.month),
            Line::from(format!(
                "in part, {}{} {batches}",
                if archive { "archived first, " } else { "" },
                HumanCount(month.batches)
            )),
            count(month.changes.iter().map(|(_, changes)| changes).sum()),
            count(month.transactions),
            count(month.actions),
            Line::from("-"),
        ]);
    }
    table.print(output)?;
    let tables = plan.thinned.iter().flat_map(|month| &month.changes);
    for (table, changes) in tables {
        let line = Line::new().styled(DIM, format!("  {} {}", HumanCount(*changes), table.to_plain()));
        output.line(&line)?;
    }
    let takes = match plan.estimate {
        Some(estimate) => {
            let seconds = std::time::Duration::from_secs(estimate.as_secs().max(1));
            format!("about {} by what earlier runs took", humantime::format_duration(seconds))
        }
        None => "how long it takes, no earlier run tells".to_owned(),
    };
    output.line(&Line::new().styled(DIM, takes))?;
    Ok(())
}
