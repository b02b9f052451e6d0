//! Where the output goes: a terminal of some width, a pipe, nobody.

use std::io::Read;
use std::process::Stdio;

use portable_pty::{CommandBuilder, PtySize, native_pty_system};
use unicode_width::UnicodeWidthStr;

use crate::sample::{Sample, bare, finished, run_until_closed};

/// What a terminal so wide is sent.
fn on_a_terminal(sample: &Sample, columns: u16, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let size = PtySize { rows: 24, cols: columns, ..PtySize::default() };
    let pty = native_pty_system().openpty(size).expect("a terminal");
    let mut command = CommandBuilder::new(env!("CARGO_BIN_EXE_threadline"));
    command.args(arguments);
    command.env("DATABASE_URL", sample.db.url());
    command.env("TERM", "xterm-256color");
    for name in ["NO_COLOR", "COLUMNS", "CLICOLOR_FORCE"] {
        command.env_remove(name);
    }
    environment.iter().for_each(|(name, value)| command.env(name, value));
    let mut child = pty.slave.spawn_command(command).expect("starts");
    drop(pty.slave);
    let mut sent = Vec::new();
    // At its end a terminal that nobody holds any more fails to be read.
    let _ = pty.master.try_clone_reader().expect("can be read").read_to_end(&mut sent);
    child.wait().expect("ends");
    String::from_utf8(sent).expect("UTF-8")
}

/// Without the colours.
fn without_styles(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\u{1b}[") {
        plain.push_str(before);
        let end = after.find('m').expect("only colours are sent");
        assert!(
            after[..end].chars().all(|character| character.is_ascii_digit() || character == ';'),
            "{after:?}"
        );
        rest = &after[end + 1..];
    }
    plain + rest
}

#[test]
fn nothing_a_stranger_typed_steers_the_terminal() {
    let sample = Sample::new();
    let id = sample.transaction("comment.spam");
    let target = ["--transaction", &id];
    let name = "\u{1b}[2J\u{9b}31m\u{202e}evil\n  covered  all";
    sample.run_sql(&format!("CREATE TABLE \"{name}\" (\"{name}\" bigint PRIMARY KEY); SELECT threadline.attach('\"{name}\"'); CREATE TABLE \"x{name}\" ()"));
    sample.run_sql(&format!("ALTER TABLE \"{name}\" DISABLE TRIGGER USER"));
    for arguments in [
        &["timeline"][..],
        &["timeline", "--json"],
        &["history", "posts", "3"],
        &["history", "posts", "3", "--json"],
        &["as-of", "posts", "3", "--at", "now"],
        &["diff", "posts", "3", "--from", &sample.mark("attached")],
        &["incident", &id],
        &["feed"],
        &[&["undo"], &target[..]].concat(),
        &[&["undo"], &target[..], &["--sql"]].concat(),
        &["actor", "user:\u{1b}[2J"],
        &["history", "posts\u{9b}2J", "3"],
        &["timeline", "--table", "posts\u{202e}"],
        &["coverage"],
        &["coverage", "--json"],
        &["verify"],
        &["verify", "--json"],
        &["policy"],
        &["doctor"],
        &["continuity", name],
        &["continuity", "--assert-ready", name],
        &["evidence", "--latest"],
        &["evidence", "--proof"],
        &["evidence", "--proof", "--json"],
        &["evidence", "--reference", name],
    ] {
        for width in [60, 200] {
            let sent = without_styles(&on_a_terminal(&sample, width, arguments, &[]));
            let is_plain = |character: char| !character.is_control() || "\r\n".contains(character);
            assert!(sent.chars().all(is_plain), "{arguments:?}: {sent:?}");
            assert!(!sent.contains('\u{202e}'), "{arguments:?}: {sent:?}");
        }
    }
    // Through a pipe, too: what reads it may be a pager.
    let piped = sample.done(&["timeline"]);
    assert!(piped.chars().all(|character| !character.is_control() || character == '\n'), "{piped:?}");
    // And it means what was stored.
    let document = sample.json(&["as-of", "posts", "3", "--at", "now", "--json"]);
    assert_eq!(document["columns"]["title"], crate::sample::HOSTILE);
}

#[test]
fn lines_fit_the_terminal() {
    let sample = Sample::new();
    sample.run_sql("UPDATE posts SET title = repeat('世界', 100), body = repeat('long ', 100) WHERE id = 1");
    let published = sample.mark("published");
    let id = sample.transaction("post.published");
    for columns in [20, 40, 80, 120] {
        for arguments in [
            &["timeline"][..],
            &["history", "posts", "1"],
            &["as-of", "posts", "1", "--at", "now"],
            &["as-of", "members", "--at", "now"],
            &["as-of", "posts", "4", "--at", &published],
            &["diff", "posts", "1", "--from", &published],
            &["incident", &id],
            &["actions"],
            &["undo", "--transaction", &id],
            &["migrate", "--check"],
            &["coverage"],
            &["verify"],
            &["policy"],
            &["doctor"],
            &["continuity", "logs"],
            &["evidence"],
            &["evidence", "--history"],
            &["evidence", "--proof"],
        ] {
            let sent = without_styles(&on_a_terminal(&sample, columns, arguments, &[]));
            // What goes to standard error is on the same terminal.
            let lines = sent.lines();
            // SQL is whole, to be copied.
            let has_sql = ["verify", "doctor"].contains(&arguments[0]);
            // And so is a word: a name, an id or an instant is of no use in part.
            let is_word = |line: &str| !line.trim().contains(' ');
            let lines = lines.filter(|line| !is_word(line) && (!has_sql || !line.starts_with("    ")));
            for line in lines {
                assert!(
                    line.trim_end().width() <= usize::from(columns),
                    "{arguments:?} in {columns}: {line:?}"
                );
            }
        }
    }
    let wide = on_a_terminal(&sample, 40, &["history", "posts", "1", "--wide"], &[]);
    assert!(wide.contains(&"世界".repeat(100)), "{wide}");
    assert!(sample.done(&["history", "posts", "1"]).contains(&"世界".repeat(100)), "a pipe gets all of it");
}

#[test]
fn remarks_are_broken_where_the_terminal_s_lines_end_and_nowhere_else() {
    let sample = Sample::new();
    let arguments = ["correlation", "nothing"];
    let whole = sample.run(&arguments).stderr;
    let longest = whole.lines().map(str::len).max().unwrap_or_default();
    assert!(longest > 80 && whole.lines().count() == 2, "a pipe gets whole lines: {whole}");
    for columns in [40, 80] {
        let sent = on_a_terminal(&sample, columns, &arguments, &[]);
        let fits = |line: &str| line.width() <= usize::from(columns);
        assert!(sent.lines().count() > 2 && sent.lines().all(fits), "{sent}");
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(words(&sent), words(&whole));
    }
}

#[test]
fn colours_are_for_terminals_whose_user_wants_them() {
    let sample = Sample::new();
    let arguments = ["history", "posts", "1"];
    assert!(on_a_terminal(&sample, 80, &arguments, &[]).contains('\u{1b}'));
    assert!(!on_a_terminal(&sample, 80, &arguments, &[("NO_COLOR", "1")]).contains('\u{1b}'));
    assert!(
        !on_a_terminal(&sample, 80, &["history", "posts", "1", "--color", "never"], &[]).contains('\u{1b}')
    );
    assert!(!sample.done(&arguments).contains('\u{1b}'));
    assert!(sample.done(&["history", "posts", "1", "--color", "always"]).contains('\u{1b}'));
}

#[test]
fn a_reader_who_goes_away_is_no_error() {
    let sample = Sample::new();
    sample.run_sql("INSERT INTO posts SELECT n, repeat('x', 500), NULL, 0 FROM generate_series(100, 2000) n");
    for arguments in [
        &["timeline", "--all"][..],
        &["timeline", "--all", "--json"],
        &["as-of", "members", "--at", "now"],
        &["as-of", "users", "--at", "now", "--all", "--json"],
        &["export", "--all", "--format", "csv"],
        &["feed", "--all", "--ndjson"],
        &["completions", "bash"],
        &["man"],
    ] {
        let run = run_until_closed(&mut sample.command(arguments), 1);
        assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{arguments:?}");
    }
    // Nobody listening on standard error is no reason to fail either.
    let mut command = sample.command(&["timeline", "--limit", "1"]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("starts");
    drop(child.stderr.take());
    assert_eq!(child.wait().expect("ends").code(), Some(0));
}

#[test]
fn what_goes_nowhere_else_goes_to_standard_error() {
    let sample = Sample::new();
    let run = sample.run(&["timeline", "--request-id", "nothing"]);
    assert_eq!((run.code, run.stdout.as_str(), run.stderr.as_str()), (Some(0), "", "no changes found\n"));
    let run = finished(&mut bare(&["timeline"]));
    assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""));
    // An export is not for a terminal.
    let sent = on_a_terminal(&sample, 80, &["export"], &[]);
    assert!(sent.contains("error: an export is not for a terminal"), "{sent}");
}

#[test]
fn progress_is_shown_on_a_terminal_and_nowhere_else() {
    let sample = Sample::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| directory.path().join(name).display().to_string();
    let sent = on_a_terminal(&sample, 80, &["export", "--output", &path("a.csv")], &[]);
    assert!(sent.contains("exporting"), "{sent:?}");
    let run = sample.run(&["export", "--output", &path("b.csv")]);
    assert!(!run.stderr.contains("exporting"), "{}", run.stderr);
}

#[test]
fn who_watches_a_run_of_retention_sees_how_far_it_has_come() {
    let sample = Sample::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let config = directory.path().join("threadline.toml");
    let text = "[retention]\nkeep = \"1s\"\nminimum = \"0s\"\nbatch_rows = 3\npause = \"250ms\"\nactions = { \"post.created\" = \"1day\" }\n";
    std::fs::write(&config, text).expect("can be written");
    let config = config.to_str().expect("UTF-8");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let execute = ["retention", "run", "--execute", "--config", config];
    let sent = on_a_terminal(&sample, 120, &execute, &[]);
    assert!(sent.contains(" rows, in ") && sent.contains("completed"), "{sent:?}");
    // Without a terminal nobody watches.
    sample.run_sql("INSERT INTO posts VALUES (100, 'x', NULL, 0)");
    std::thread::sleep(std::time::Duration::from_millis(1100));
    let run = sample.run(&execute);
    assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{}", run.stdout);
    assert!(run.stdout.contains("completed"), "{}", run.stdout);
}
