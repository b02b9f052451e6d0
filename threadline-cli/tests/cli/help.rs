//! What the command says of itself, and whether it is true.

use std::process::Command;

use insta::{assert_snapshot, with_settings};

use crate::host::Host;
use crate::sample::{Sample, bare, finished};

/// The verbs, by the help.
pub(crate) fn verbs() -> Vec<String> {
    let help = finished(&mut bare(&["--help"])).stdout;
    let (_, commands) = help.split_once("Commands:\n").expect("there are commands");
    let (commands, _) = commands.split_once("\n\n").expect("options follow");
    let names = commands.lines().filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    names.filter(|name| !name.is_empty() && *name != "help").map(str::to_owned).collect()
}

fn help(arguments: &[&str]) -> String {
    let run = finished(&mut bare(arguments));
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    // clap indents empty lines too.
    run.stdout.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn help_says_what_each_command_does() {
    with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        assert_snapshot!("threadline", help(&["--help"]));
        for verb in verbs() {
            assert_snapshot!(format!("threadline-{verb}"), help(&[&verb, "--help"]));
        }
        for verb in ["check", "show"] {
            assert_snapshot!(format!("threadline-config-{verb}"), help(&["config", verb, "--help"]));
        }
    });
}

#[test]
fn help_fits_a_narrow_terminal() {
    for verb in verbs() {
        let help = help(&[&verb, "--help"]);
        let (help, _) = help.split_once("\nExamples:").unwrap_or((&help, ""));
        let longest = help.lines().map(|line| line.chars().count()).max().unwrap_or_default();
        assert!(longest <= 100, "{verb}: {longest}");
    }
}

/// What the sample is audited for, as its models would say it.
const MODELS: &str = "
diesel::table! { posts (id) { id -> Int8 } }
diesel::table! { logs (id) { id -> Int8 } }
diesel::table! { users (id) { id -> Int8, email -> Text, password_hash -> Text } }
diesel::table! { members (organization_id, user_id) { organization_id -> Int8, user_id -> Int8 } }
#[derive(Audited)] struct Post;
#[derive(Audited)] struct Log;
#[derive(Audited)] #[threadline(mask(email), mask_placeholder = \"n/a\", exclude(password_hash))] struct User;
#[derive(Audited)] #[diesel(primary_key(organization_id, user_id))] #[threadline(scope(organization_id))] struct Member;
";
const CONFIG: &str =
    "[tables]\nignored = [{ table = \"public.marks\", reason = \"only the tests read it\" }]\n";

/// The examples of a command, each as its arguments, without what a shell does to it.
fn examples(help: &str) -> Vec<Vec<String>> {
    let (_, examples) = help.split_once("Examples:\n").expect("has examples");
    let lines = examples.lines().map_while(|line| line.strip_prefix("  threadline "));
    lines.map(|line| shell_words(line.split(['|', '>']).next().expect("never empty"))).collect()
}

fn shell_words(text: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut is_quoted = false;
    for character in text.trim().chars() {
        match character {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            character => words.last_mut().expect("never empty").push(character),
        }
    }
    words
}

#[test]
fn the_examples_in_the_help_work() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let write = |path: &str, text: &str| {
        let path = directory.path().join(path);
        std::fs::create_dir_all(path.parent().expect("inside")).expect("can be made");
        std::fs::write(path, text).expect("can be written");
    };
    write("src/lib.rs", MODELS);
    let storage = directory.path().join("storage");
    let config = format!("{CONFIG}[storage]\nurl = \"file://{}\"\n", storage.display());
    write("threadline.toml", &config);
    write("deploy/threadline.toml", &config);
    let mut ran = 0;
    for verb in verbs().iter().filter(|verb| !["install", "generate"].contains(&verb.as_str())) {
        let sample = Sample::new();
        // Where rows escaped capture, whole tables cannot be told.
        sample.run_sql("DELETE FROM posts WHERE id = 4");
        let id = sample.transaction("post.purged");
        let plan = sample.done(&["undo", "--transaction", &id, "--json"]);
        std::fs::write(directory.path().join("plan.json"), plan).expect("can be written");
        for mut arguments in examples(&help(&[verb, "--help"])) {
            if arguments.contains(&"--follow".to_owned()) {
                continue;
            }
            for argument in &mut arguments {
                *argument = argument.replace("019ab3c4-5d6e-7000-8000-0123456789ab", &id);
                if argument.starts_with("~/") {
                    *argument = directory.path().display().to_string();
                }
            }
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            let run = finished(sample.command(&arguments).current_dir(directory.path()));
            // Of a trail that is seconds old, what was hours ago is not known; and of what the examples undo, some has later work.
            let said = format!("{}{}", run.stdout, run.stderr);
            let is_early =
                run.code == Some(1) && (said.contains("reaches back") || said.contains("is known from"));
            let is_conflict =
                run.code == Some(1) && (said.contains("later work") || said.contains("row_gone"));
            // What the tests' server does for speed, a doctor warns of; and the sample has a gap.
            let is_finding = run.code == Some(1) && verb == "doctor" && run.stderr.is_empty();
            assert!(
                run.code == Some(0) || is_early || is_conflict || is_finding,
                "{arguments:?}: {:?} {said}",
                run.code
            );
            ran += 1;
        }
    }
    assert!(ran > 30, "{ran}");
}

#[test]
fn what_is_misspelt_is_not_ignored() {
    let host = Host::new("");
    for line in [
        "generate --chek",
        "generate posts",
        "install --check --dry-run",
        "generate --check --dry-run",
        "gen",
    ] {
        assert_eq!(host.run(line).code, Some(2), "{line}");
    }
    assert_eq!(host.migrations().len(), 2, "nothing was written");
    let sample = Sample::new();
    for verb in verbs() {
        for wrong in [
            &[verb.as_str(), "--stict"][..],
            &[&verb, "stray", "stray", "stray=1", "--jsn"],
            &[&verb, "--json=1"],
        ] {
            let run = sample.run(wrong);
            assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{wrong:?}: {}", run.stderr);
        }
    }
    for stray in [
        &["timeline", "posts"][..],
        &["actor", "user:42", "posts"],
        &["feed", "posts"],
        &["export", "a.csv"],
        &["migrate", "up"],
        &["correlation", "a", "b"],
    ] {
        let run = sample.run(stray);
        assert_eq!(run.code, Some(2), "{stray:?}");
        assert!(run.stderr.contains("is no argument of `threadline"), "{stray:?}: {}", run.stderr);
    }
}

#[test]
fn completions_and_manual_pages_know_every_verb() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = finished(&mut bare(&["completions", shell])).stdout;
        for verb in verbs() {
            assert!(script.contains(&verb), "{shell}: {verb}");
        }
        assert!(script.contains("transaction-correlation-id"), "{shell}");
        if shell == "bash" {
            let path = directory.path().join("completions");
            std::fs::write(&path, script).expect("can be written");
            assert!(Command::new("bash").arg("-n").arg(path).status().expect("bash is there").success());
        }
    }
    let pages = directory.path().join("pages");
    std::fs::create_dir(&pages).expect("can be made");
    assert_eq!(finished(&mut bare(&["man", "--directory", pages.to_str().expect("UTF-8")])).code, Some(0));
    for verb in verbs() {
        let page = std::fs::read_to_string(pages.join(format!("threadline-{verb}.1"))).expect("was written");
        assert!(page.contains(".TH") && page.contains(&verb.replace('-', "\\-")), "{verb}");
    }
    assert!(finished(&mut bare(&["man"])).stdout.contains(".TH threadline 1"));
}

#[test]
fn what_is_wrong_with_the_arguments_is_one_sentence_with_its_fix() {
    let sample = Sample::new();
    for (arguments, said) in [
        (
            &["coverage", "--stict"][..],
            "`--stict` is no argument of `threadline coverage`; did you mean `--strict`?",
        ),
        (
            &["retention", "holds", "lsit"],
            "`lsit` is no verb of `threadline retention holds`; did you mean `list`?",
        ),
        (&["exports", "enqueue"], "`--by <ACTOR>` is missing; `threadline exports enqueue --help` says"),
        (&["exports", "enqueue", "--by"], "`--by` has no value; write `--by <ACTOR>`"),
        (&["exports", "enqueue", "--by", "nobody:1"], "`nobody:1` is no value of `--by`: "),
        (&["export", "--format", "xml"], "`xml` is no value of `--format`; write one of: csv, json, ndjson"),
        (&["history"], "`TABLE` and `KEY` are missing"),
        (
            &["as-of", "posts", "--at", "noon"],
            "`noon` is no value of `--at`: write `2026-11-21T09:30:00Z` or ",
        ),
        (&["timeline", "--from", "noon"], "`noon` is no value of `--from`: write `2026-11-21T09:30:00Z` or "),
        (&["timeline", "--limit", "0"], "`0` is no value of `--limit`: 0 is not in 1..=1000"),
        (&["timeline", "--json", "--json"], "`--json` is given twice; give it once"),
        (&["evidence", "--latest", "--history"], "`--latest` cannot be used with `--history`; leave one out"),
        (
            &["undo"],
            "one of `--transaction`, `--action`, `--correlation`, `--change`, `--row`, `--plan` is missing",
        ),
        (&["undo", "--row", "posts"], "`--row` has too few values; write `--row <TABLE> <KEY>...`"),
    ] {
        let run = sample.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.starts_with(&format!("error: {said}")), "{arguments:?}: {}", run.stderr);
        assert_eq!(run.stderr.lines().count(), 1, "{}", run.stderr);
    }
}
