//! `threadline policy`: what was declared to be recorded, against what the database records.

use anyhow::Result;
use serde::Serialize;
use threadline::evidence::Subject;
use threadline::policy::{self, PolicyState, TablePolicy};

use crate::Outcome;
use crate::checking::CheckArgs;
use crate::commands::doctor::print_problem;
use crate::evidence::Kept;
use crate::models::{ExpectationArgs, ModelsRead, counted};
use crate::output::{BAD, DIM, GOOD, HEADING, Line, NOTE, Output};

/// Compare what the models declare with what the database records
///
/// For every table of a model, and every audited table: whether what is left out, masked, ignored, and by which key and scope rows
/// are recorded, is what the model declares. Exit code 1 when a declared policy is not the deployed one; an audited table without
/// a model fails nothing, unless `--strict`.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline policy
  threadline policy --source src --strict
  threadline policy --json | jq '.policies[] | select(.state != \"matches\")'")]
pub(crate) struct Args {
    /// Exit with 1 too when a table is audited that no model declares
    #[arg(long)]
    strict: bool,

    #[command(flatten)]
    expectation: ExpectationArgs,
    #[command(flatten)]
    check: CheckArgs,
}

#[derive(Serialize)]
struct Document {
    expectation: ModelsRead,
    policies: Vec<TablePolicy>,
    evidence: Kept,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let models = args.expectation.models()?;
    let mut conn = args.check.database.connect()?;
    let policies = models.declared(|declared| policy::report(&mut conn, &declared))?;
    let kept = args.check.evidence.keep(&mut conn, Subject::RedactionPolicy, |conn| {
        policy::record_evidence(conn, &policies, "threadline policy", None)
    });
    let fails = policies.iter().any(|policy| match policy.state {
        PolicyState::Matches => false,
        PolicyState::Unknown => args.strict,
        _ => true,
    });
    let expectation = models.read();
    let mut output = args.check.output.open();
    if output.is_json() {
        output.document(&Document { expectation, policies, evidence: kept })?;
    } else {
        print(&mut output, &policies, &expectation)?;
        kept.print(&mut output)?;
    }
    output.flush()?;
    Ok(if fails { Outcome::FoundSomething } else { Outcome::Done })
}

fn print(output: &mut Output, policies: &[TablePolicy], expectation: &ModelsRead) -> std::io::Result<()> {
    let states = [
        (PolicyState::Matches, "as declared", GOOD),
        (PolicyState::Drift, "drift", BAD),
        (PolicyState::Altered, "altered by hand", BAD),
        (PolicyState::NotAttached, "not attached", BAD),
        (PolicyState::Unknown, "not declared", NOTE),
    ];
    let mut line = Line::from(counted(policies.len(), "table"));
    let mut separator = ": ";
    for (state, called, style) in states {
        let number = policies.iter().filter(|policy| policy.state == state).count();
        if number > 0 {
            line = line.plain(separator).styled(style, format!("{number} {called}"));
            separator = ", ";
        }
    }
    output.line(&line)?;
    expectation.print(output)?;
    // What is as declared is said in a line; what is not is there to be acted on.
    let is_loud = |policy: &TablePolicy| policy.state != PolicyState::Unknown && !policy.fix.is_empty();
    for quiet in policies.iter().filter(|policy| !is_loud(policy)) {
        print_head(output, quiet)?;
    }
    // That nobody declares it is no reason to end its audit.
    if policies.iter().any(|policy| policy.state == PolicyState::Unknown) {
        output.prose(
            NOTE,
            "",
            "what no model declares is recorded all the same, by the policy the database has; declare it, or end its audit in a migration if that is decided",
        )?;
    }
    for policy in policies.iter().filter(|policy| is_loud(policy)) {
        output.blank()?;
        print_head(output, policy)?;
        for difference in &policy.differences {
            output.prose(anstyle::Style::new(), "  ", &difference.to_string())?;
        }
        let meant = match (policy.state, &policy.declared_by) {
            (PolicyState::Altered, None) => {
                "its capture function is not what was compiled from its policy, and no model declares it; to have it compiled anew:"
            }
            (PolicyState::Altered, Some(_)) => {
                "its capture function is not what was compiled from its policy; to have it compiled anew:"
            }
            (PolicyState::NotAttached, _) => {
                "nothing of it is recorded; in a migration (`threadline generate`), or at once:"
            }
            _ => "to deploy what is declared, in a migration (`threadline generate`), or at once:",
        };
        print_problem(output, meant, &policy.fix)?;
    }
    Ok(())
}

/// Which table, how it is, and who declares it.
fn print_head(output: &mut Output, policy: &TablePolicy) -> std::io::Result<()> {
    let (called, style) = match policy.state {
        PolicyState::Matches => ("as declared".to_owned(), GOOD),
        PolicyState::Unknown => ("not declared".to_owned(), NOTE),
        state => (state.to_string(), BAD),
    };
    let head = Line::new().styled(HEADING, policy.table.to_plain()).plain("  ").styled(style, called);
    let by = policy.declared_by.as_ref().map(|by| format!("  by {by}")).unwrap_or_default();
    output.line(&head.styled(DIM, by))
}
