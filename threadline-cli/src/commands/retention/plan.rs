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
/// Counts what is due by the windows and under no hold, month by month, and beside the trail, and says how long that takes by what
/// earlier runs took. Takes the owner of schema `threadline`.
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
    let policy = &config.retention;
    let mut conn = args.database.connect()?;
    let plan = retention::plan(&mut conn, policy, config.archive)?;
    let mut output = args.output.open();
    if output.is_json() {
        output.document(&Document { archive: config.archive, plan: &plan })?;
    } else {
        print(&mut output, &plan, policy, config.archive)?;
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
    } else if plan.months.is_empty() && plan.thinned.is_empty() {
        output.line(&Line::new().styled(DIM, format!("nothing of the trail is due at {}", when(plan.at))))?;
    } else {
        print_trail(output, plan, archive)?;
    }
    for waiting in &plan.waiting {
        let text = format!(
            "{} changes and {} actions of {} are past their window, and wait to be archived with the whole month: from {} on",
            HumanCount(waiting.changes),
            HumanCount(waiting.actions),
            waiting.month,
            when(waiting.until)
        );
        output.prose(DIM, "", &text)?;
    }
    let beside = plan.beside.kinds().into_iter().filter(|(_, count)| *count > 0);
    let beside: Vec<_> =
        beside.map(|(kind, count)| format!("{} {}", kind.replace('_', " "), HumanCount(count))).collect();
    if !beside.is_empty() {
        output.prose(DIM, "", &format!("beside the trail: {}", beside.join(", ")))?;
    }
    Ok(())
}

fn print_trail(output: &mut Output, plan: &RetentionPlan, archive: bool) -> Result<()> {
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
        for (name, changes) in &month.changes {
            let name = Line::new().styled(DIM, format!("  {}", name.to_plain()));
            table.row([name, Line::new(), count(*changes), Line::new(), Line::new(), Line::new()]);
        }
    }
    table.print(output)?;
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
