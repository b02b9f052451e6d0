//! `guides/reference.md`: what the database and the types say of themselves, and nothing else.
//!
//! `THREADLINE_UPDATE=1` writes the guide anew instead of comparing it; review what has changed then.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::fs;

use diesel::PgConnection;
use threadline::evidence::{Status, Subject, Verdict};
use threadline::health::{FindingCode, Severity};
use threadline::{ActorType, Op};
use threadline_tests::{audited_database, texts};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guides/reference.md");

/// The functions hosts and their operators call. All others are the library's own, and may change with any version.
const FUNCTIONS: [(&str, &[&str]); 5] = [
    (
        "Saying who and why",
        &["set_context", "begin", "finish", "record_action", "record_application_evidence"],
    ),
    (
        "Capture",
        &[
            "attach",
            "detach",
            "refresh",
            "refresh_all",
            "enable_ddl_refresh",
            "disable_ddl_refresh",
            "detach_gone",
        ],
    ),
    ("Partitions and time", &["maintain", "partitions", "instant_of", "first_id_at", "purged_until"]),
    (
        "The feed, restores and upgrades",
        &[
            "enable_feed_notify",
            "disable_feed_notify",
            "adopt_restored_trail",
            "adopt_upgraded_cluster",
            "schema_version",
        ],
    ),
    ("Governance", &["acknowledge_gap", "record_evidence"]),
];

/// Every table but partitions: name, comment.
const TABLES: &str = "SELECT concat_ws('|', c.relname, obj_description(c.oid)) FROM pg_class c
    WHERE c.relnamespace = 'threadline'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm') AND NOT c.relispartition ORDER BY c.relname";

/// A table's columns: name, type, whether it may be NULL, the values a CHECK closes it to, comment.
const COLUMNS: &str = "SELECT concat_ws('|', a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN '' ELSE 'yes' END,
        coalesce((SELECT string_agg('`' || v.value[1] || '`', ' ' ORDER BY v.place) FROM pg_constraint k,
            regexp_matches(pg_get_constraintdef(k.oid), '''([a-z_]+)''::text', 'g') WITH ORDINALITY AS v (value, place)
            WHERE k.conrelid = a.attrelid AND k.contype = 'c' AND k.conkey = ARRAY[a.attnum] AND pg_get_constraintdef(k.oid) ~ '= ANY \\(\\(?ARRAY'), ''),
        coalesce(col_description(a.attrelid, a.attnum), 'MISSING'))
    FROM pg_attribute a WHERE a.attrelid = to_regclass('threadline.' || '%') AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// A function: arguments, result, whether everybody may call it, comment.
const FUNCTION: &str = "SELECT concat_ws('|', pg_get_function_arguments(f.oid), pg_get_function_result(f.oid),
        CASE WHEN has_function_privilege('pg_monitor', f.oid, 'EXECUTE') THEN 'anybody' ELSE 'the owner' END, coalesce(obj_description(f.oid), 'MISSING'))
    FROM pg_proc f WHERE f.pronamespace = 'threadline'::regnamespace AND f.proname = '%'";

fn cells(line: &str, count: usize) -> Vec<&str> {
    line.splitn(count, '|').collect()
}

fn tables(conn: &mut PgConnection, out: &mut String) {
    for table in texts(conn, TABLES) {
        let [name, comment] = cells(&table, 2)[..] else { panic!("{table} has no comment") };
        write!(
            out,
            "\n### {name}\n\n{comment}\n\n| column | type | null | meaning |\n| --- | --- | --- | --- |\n"
        )
        .unwrap();
        for column in texts(conn, &COLUMNS.replace('%', name)) {
            let [column, of_type, null, values, comment] = cells(&column, 5)[..] else { panic!("{column}") };
            let values = if values.is_empty() { String::new() } else { format!(" One of {values}.") };
            let comment = comment.replace('|', "\\|");
            writeln!(out, "| `{column}` | {of_type} | {null} | {comment}{values} |").unwrap();
        }
    }
}

fn functions(conn: &mut PgConnection, out: &mut String) {
    for (heading, names) in FUNCTIONS {
        writeln!(out, "\n### {heading}\n").unwrap();
        for name in names {
            let found = texts(conn, &FUNCTION.replace('%', name));
            assert!(!found.is_empty(), "there is no function {name}");
            for function in found {
                let [arguments, result, who, comment] = cells(&function, 4)[..] else { panic!("{function}") };
                let result = if result == "void" { String::new() } else { format!(" → `{result}`") };
                writeln!(out, "- `threadline.{name}({arguments})`{result}, by {who}. {comment}").unwrap();
            }
        }
    }
}

/// The documentation of a type's values, in their order, as its source has it after `marker`.
fn documented(source: &str, marker: &str) -> Vec<String> {
    let (_, body) = source.split_once(marker).unwrap_or_else(|| panic!("no `{marker}`"));
    let (body, _) = body.split_once("\n}").expect("it ends");
    let (mut docs, mut doc) = (Vec::new(), Vec::new());
    for line in body.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("#[")) {
        match line.strip_prefix("/// ") {
            Some(text) => doc.push(text),
            None => docs.push(std::mem::take(&mut doc).join(" ")),
        }
    }
    docs
}

fn vocabulary(out: &mut String, heading: &str, names: &[String], docs: &[String]) {
    assert_eq!(names.len(), docs.len(), "{heading}");
    assert!(docs.iter().all(|doc| !doc.is_empty()), "{heading}");
    writeln!(out, "\n### {heading}\n").unwrap();
    for (name, doc) in names.iter().zip(docs) {
        writeln!(out, "- `{name}`: {doc}").unwrap();
    }
}

fn vocabularies(out: &mut String) {
    let change = include_str!("../../threadline/src/investigation/change.rs");
    let ops = [Op::Insert, Op::Update, Op::Delete, Op::Truncate].map(|op| {
        let name = op.to_string();
        format!("{}` or `{name}", &name[..1].to_uppercase())
    });
    vocabulary(out, "What a change did", &ops, &documented(change, "pub enum Op {"));
    let actors = [
        ActorType::User,
        ActorType::Admin,
        ActorType::ServiceAccount,
        ActorType::Job,
        ActorType::System,
        ActorType::Anonymous,
    ];
    let actor = include_str!("../../threadline/src/intent/actor.rs");
    vocabulary(
        out,
        "Types of actor",
        &actors.map(|of| of.to_string()),
        &documented(actor, "pub enum ActorType {"),
    );
    let finding = include_str!("../../threadline/src/operation/health/finding.rs");
    let severities =
        [Severity::Error, Severity::Warning, Severity::Info].map(|severity| severity.to_string());
    vocabulary(out, "Severities of findings", &severities, &documented(finding, "pub enum Severity {"));
    let codes: Vec<_> = FindingCode::ALL.iter().map(ToString::to_string).collect();
    vocabulary(out, "Codes of findings", &codes, &documented(finding, "\nfinding_codes! {"));
    let subject = include_str!("../../threadline/src/operation/evidence/subject.rs");
    let subjects: Vec<_> = Subject::ALL.iter().map(ToString::to_string).collect();
    vocabulary(out, "Subjects of evidence", &subjects, &documented(subject, "pub enum Subject {"));
    let statuses: Vec<_> = Status::ALL.iter().map(ToString::to_string).collect();
    let docs: Vec<_> = documented(subject, "pub enum Status {");
    vocabulary(out, "How what evidence is about went", &statuses, &docs);
    let verdicts: Vec<_> = Verdict::ALL.iter().map(ToString::to_string).collect();
    vocabulary(out, "What evidence supports", &verdicts, &documented(subject, "pub enum Verdict {"));
}

/// The part of the guide that is generated, between its marks.
fn generated(conn: &mut PgConnection) -> String {
    let mut out = "<!-- generated: begin -->\n\n## Tables\n".to_owned();
    tables(conn, &mut out);
    out.push_str("\n## Functions\n");
    functions(conn, &mut out);
    out.push_str("\n## Closed vocabularies\n");
    vocabularies(&mut out);
    out.push_str("\n<!-- generated: end -->\n");
    out
}

#[test]
fn the_reference_is_what_the_database_and_the_types_say() {
    let db = audited_database();
    let generated = generated(&mut db.connect());
    assert!(!generated.contains("MISSING"), "something has no comment");
    let guide = fs::read_to_string(GUIDE).unwrap();
    let (before, rest) = guide.split_once("<!-- generated: begin -->").expect("the guide has the marks");
    let (_, after) = rest.split_once("<!-- generated: end -->\n").expect("the guide has the marks");
    let anew = format!("{before}{generated}{after}");
    if std::env::var_os("THREADLINE_UPDATE").is_some() {
        fs::write(GUIDE, anew).unwrap();
    } else if anew != guide {
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (guide.lines().collect(), anew.lines().collect());
        let gone: Vec<_> = old.difference(&new).collect();
        let come: Vec<_> = new.difference(&old).collect();
        panic!("run it with THREADLINE_UPDATE=1; no longer true {gone:#?}, missing {come:#?}");
    }
}

#[test]
fn every_function_another_guide_names_is_in_the_reference() {
    let reference = fs::read_to_string(GUIDE).unwrap();
    for guide in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../guides")).unwrap() {
        let path = guide.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        for named in text.split("threadline.").skip(1) {
            let name: String = named.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            if named[name.len()..].starts_with('(') {
                assert!(reference.contains(&format!("threadline.{name}(")), "{}: {name}", path.display());
            }
        }
    }
}
