//! `threadline evidence`: what is on record about how the trail is governed, and what that proves.

use std::collections::BTreeSet;

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text};
use serde::Serialize;
use serde_json::{Map, Value};
use threadline::TableName;
use threadline::evidence::{
    self, ClaimFinding, EvidenceFilter, EvidenceRecord, InvalidEvidence, Mode, ProofDocument, ProofRequest,
    Reference, Source, Status, Subject, SubjectOverview, Verdict,
};

use crate::Outcome;
use crate::database::DatabaseArgs;
use crate::output::{BAD, DIM, GOOD, HEADING, Line, NOTE, Output, OutputArgs, Table, note, packed, when};
use crate::paging::PageArgs;
use crate::time;

/// Show what is on record about how the trail is governed
///
/// Alone it counts what there is of each subject. With a subject, or anything else to choose by, it lists the newest record of each
/// thing, or with `--history` all. With `--proof` it makes the document for an auditor: whether all is as it should be by what was
/// recorded, and apart from that how well it is shown, with up to 1,000 records; everything is counted. It looks, and never fails
/// for what it finds.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  threadline evidence
  threadline evidence trigger_coverage --history --from 30days
  threadline evidence --reference table=posts
  threadline evidence --proof --json > proof.json")]
pub(crate) struct Args {
    /// What the records are about
    #[arg(value_parser = subject_parser())]
    subject: Option<Subject>,

    /// The newest record of each thing, which is what is listed anyway once something is chosen
    #[arg(long, conflicts_with = "history")]
    latest: bool,

    /// All records
    #[arg(long)]
    history: bool,

    /// The document of what they prove
    #[arg(long, conflicts_with_all = ["limit", "cursor", "all", "oldest_first"])]
    proof: bool,

    /// What exactly they are about, as `table=public.posts`, its holds and baselines included; several names make one reference
    #[arg(long, value_name = "NAME=TEXT", help_heading = "Filter")]
    reference: Vec<String>,

    /// What was established then or later
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "Filter")]
    from: Option<DateTime<Utc>>,

    /// What was established then or earlier
    #[arg(long, value_name = "TIME", value_parser = time::parse, help_heading = "Filter")]
    to: Option<DateTime<Utc>>,

    #[command(flatten)]
    page: PageArgs,
    #[command(flatten)]
    output: OutputArgs,
    #[command(flatten)]
    database: DatabaseArgs,
}

fn subject_parser() -> impl clap::builder::TypedValueParser<Value = Subject> {
    use clap::builder::TypedValueParser as _;
    let names = Subject::ALL.iter().map(|subject| subject.as_str());
    clap::builder::PossibleValuesParser::new(names).try_map(|name| name.parse::<Subject>())
}

#[derive(Serialize)]
struct Overview {
    subjects: Vec<SubjectOverview>,
}

pub(crate) fn run(args: &Args) -> Result<Outcome> {
    let parts = args.reference()?;
    let mut conn = args.database.connect()?;
    let filter = args.filter(reference(&mut conn, parts)?)?;
    let mut output = args.output.open();
    let mode = if args.history { Mode::History } else { Mode::Latest };
    if args.proof {
        let proof = ProofDocument::generate(&mut conn, &ProofRequest::filtered(filter).mode(mode))?;
        print_proof(&mut output, &proof)?;
        output.flush()?;
        return Ok(Outcome::Done);
    }
    let is_chosen = filter != EvidenceFilter::new() || args.latest || args.history || args.page.is_given();
    if !is_chosen {
        let subjects = evidence::overview(&mut conn)?;
        if output.is_json() {
            output.document(&Overview { subjects })?;
        } else {
            print_overview(&mut output, &subjects)?;
        }
        output.flush()?;
        return Ok(Outcome::Done);
    }
    args.page.walk(
        &mut output,
        "records",
        |request| match mode {
            Mode::History => evidence::history(&mut conn, &filter, request),
            Mode::Latest => evidence::latest(&mut conn, &filter, request),
        },
        |output, records| records.iter().try_for_each(|record| print(output, record)),
    )?;
    Ok(Outcome::Done)
}

impl Args {
    fn filter(&self, reference: Option<Reference>) -> Result<EvidenceFilter> {
        let mut filter = EvidenceFilter::new();
        if let Some(subject) = self.subject {
            filter = filter.subject(subject);
        }
        if let Some(reference) = reference {
            filter = filter.reference(reference);
        }
        if let Some(from) = self.from {
            filter = filter.from(from);
        }
        if let Some(to) = self.to {
            filter = filter.to(to);
        }
        filter.check().map_err(|error: InvalidEvidence| anyhow!("{error}"))?;
        Ok(filter)
    }

    /// The parts of the reference, each name once.
    fn reference(&self) -> Result<Vec<(&str, &str)>> {
        let mut parts: Vec<(&str, &str)> = Vec::new();
        for part in &self.reference {
            let Some((name, text)) = part.split_once('=') else {
                bail!("`{part}` is not a part of a reference, which is written NAME=TEXT");
            };
            if parts.iter().any(|(other, _)| *other == name) {
                bail!("the reference has `{name}` twice");
            }
            parts.push((name, text));
        }
        Ok(parts)
    }
}

/// The reference of these parts. A table without its schema is the one that other verbs take for it.
fn reference(conn: &mut PgConnection, parts: Vec<(&str, &str)>) -> Result<Option<Reference>> {
    let mut reference: Option<Reference> = None;
    for (name, text) in parts {
        if !KNOWN.contains(&name) {
            let names = names_on_record(conn)?;
            if !names.iter().any(|other| other == name) {
                bail!("no record has the reference `{name}`; there are {}", names.join(", "));
            }
        }
        let text = match text.parse::<TableName>() {
            Ok(table) if name == "table" => qualified(conn, &table)?,
            Err(_) if name == "table" => {
                note(&format!("there is no table `{text}`: that is no name of one"));
                text.to_owned()
            }
            _ => text.to_owned(),
        };
        reference = Some(match reference {
            None => Reference::new(name, text),
            Some(reference) => reference.and(name, text),
        });
    }
    Ok(reference)
}

/// What the operation's own records refer to.
const KNOWN: [&str; 6] = ["table", "run", "policy", "job", "hold", "baseline"];

/// The names that references have, also those that only an application records by.
fn names_on_record(conn: &mut PgConnection) -> Result<Vec<String>> {
    #[derive(QueryableByName)]
    struct Named {
        #[diesel(sql_type = Text)]
        name: String,
    }
    let found: Vec<Named> = diesel::sql_query(
        "SELECT DISTINCT k.name FROM threadline.evidence_records e CROSS JOIN LATERAL jsonb_object_keys(e.reference) k (name)",
    )
    .load(conn)
    .context("cannot look up the references there are")?;
    let mut names: BTreeSet<String> = KNOWN.iter().map(|name| (*name).to_owned()).collect();
    names.extend(found.into_iter().map(|found| found.name));
    Ok(names.into_iter().collect())
}

/// The name with its schema: of a table that is there, or that the trail knows; else as it is.
fn qualified(conn: &mut PgConnection, table: &TableName) -> Result<String> {
    #[derive(QueryableByName)]
    struct Named {
        #[diesel(sql_type = Text)]
        schema: String,
        #[diesel(sql_type = Text)]
        name: String,
    }
    let found: Option<Named> = diesel::sql_query(
        "SELECT n.nspname::text AS schema, c.relname::text AS name FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace \
            WHERE c.oid = to_regclass($1) \
         UNION ALL SELECT a.schema_name, a.table_name FROM threadline.audited_tables a \
            WHERE to_regclass($1) IS NULL AND a.table_name = $2 \
                AND (a.schema_name = $3 OR $3 IS NULL AND a.schema_name = ANY (current_schemas(false))) LIMIT 1",
    )
    .bind::<Text, _>(table.to_sql())
    .bind::<Text, _>(table.name())
    .bind::<Nullable<Text>, _>(table.schema())
    .get_result(conn)
    .optional()
    .context("cannot look up the table of the reference")?;
    if found.is_none() {
        note(&format!("there is no table `{}`, and the trail knows none of that name", table.to_plain()));
    }
    Ok(found.map_or_else(
        || table.to_plain(),
        |found| TableName::new(Some(&found.schema), &found.name).to_plain(),
    ))
}

/// When and what, how it went and what it supports; then the fact, and where it comes from.
fn print(output: &mut Output, record: &EvidenceRecord) -> std::io::Result<()> {
    let head = Line::new().styled(HEADING, when(record.recorded_at)).plain(format!("  {}", record.subject));
    let status = match record.status {
        Status::Ok => GOOD,
        Status::Finding => NOTE,
        Status::Error => BAD,
    };
    let head = head.plain("  ").styled(status, record.status.to_string()).styled(DIM, "  evidence ");
    output.line(&head.styled(verdict_style(record.verdict), record.verdict.to_string()))?;
    output.line(&Line::new().styled(DIM, "  about ").plain(record.reference.to_string()))?;
    if let Some(actor) = &record.actor {
        let line = Line::new().styled(DIM, "  asked for by ").plain(actor.to_string());
        output.line(&line.styled(DIM, ", says role ").plain(&record.provenance.db_role))?;
    }
    let detail: Map<String, Value> = serde_json::from_str(record.detail.as_str()).unwrap_or_default();
    let said = detail.iter().filter(|(_, value)| !is_empty(value));
    let pieces: Vec<Line> = said
        .map(|(name, value)| Line::new().styled(DIM, format!("{name} ")).plain(in_short(value)))
        .collect();
    if !pieces.is_empty() {
        packed(pieces, 2, output.width()).iter().try_for_each(|line| output.line(line))?;
    }
    let provenance = &record.provenance;
    let line = Line::new().styled(DIM, "  by ").plain(&provenance.entry_point);
    let line = line.styled(DIM, " as role ").plain(&provenance.db_role);
    output.line(&match provenance.source {
        Source::Operation => line,
        Source::Application => line.styled(NOTE, ", which any role can record"),
    })
}

/// Whether a part of the detail says nothing.
fn is_empty(value: &Value) -> bool {
    value.is_null()
        || value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(Map::is_empty)
}

/// A part of the detail; lists of texts and texts without their quotes.
fn in_short(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) if values.iter().all(Value::is_string) => {
            values.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("; ")
        }
        other => other.to_string(),
    }
}

fn verdict_style(verdict: Verdict) -> anstyle::Style {
    match verdict {
        Verdict::Proven => GOOD,
        Verdict::Inferred => DIM,
        Verdict::Unsupported => BAD,
    }
}

fn print_overview(output: &mut Output, subjects: &[SubjectOverview]) -> std::io::Result<()> {
    let mut table = Table::new(&["SUBJECT", "NEWEST", "RECORDS", "THINGS", "NOT OK", "EVIDENCE"]);
    for overview in subjects {
        let SubjectOverview { subject, records, references, newest, verdicts, statuses, .. } = overview;
        let not_ok = statuses.finding + statuses.error;
        let newest = newest.map(|newest| newest.format("%Y-%m-%d %H:%M:%SZ").to_string());
        let supported = [
            (verdicts.proven, Verdict::Proven),
            (verdicts.inferred, Verdict::Inferred),
            (verdicts.unsupported, Verdict::Unsupported),
        ];
        let supported = supported.into_iter().filter(|(number, _)| *number > 0);
        let support = supported.fold(Line::new(), |line, (number, verdict)| {
            let separator = if line.width() == 0 { "" } else { ", " };
            line.plain(separator).styled(verdict_style(verdict), format!("{number} {verdict}"))
        });
        table.row([
            Line::from(subject.to_string()),
            newest.map_or_else(|| Line::new().styled(DIM, "never"), Line::from),
            Line::from(records.to_string()),
            Line::from(references.to_string()),
            Line::new().styled(if not_ok > 0 { NOTE } else { DIM }, not_ok.to_string()),
            support,
        ]);
    }
    table.print(output)
}

/// The document as it is: it has its own version, and its text its own form.
fn print_proof(output: &mut Output, proof: &ProofDocument) -> std::io::Result<()> {
    if output.is_json() {
        return output.json_line(proof);
    }
    for line in proof.to_string().lines() {
        let text = line.trim_start();
        let assessment = &proof.claim_assessment;
        let style = match line.split_once(':') {
            Some(("evidence", _)) => verdict_style(assessment.evidence),
            Some(("finding", _)) => match assessment.finding {
                ClaimFinding::Violated => BAD,
                ClaimFinding::Unknown => NOTE,
                ClaimFinding::Holds => GOOD,
                ClaimFinding::NotApplicable => DIM,
            },
            _ => anstyle::Style::new(),
        };
        output.prose(style, &line[..line.len() - text.len()], text)?;
    }
    Ok(())
}
