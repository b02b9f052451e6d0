//! `guides/command-line.md`, taken at its word: its commands, in order, and what they print.

use std::fs;
use std::path::Path;

use uuid::Uuid;

use crate::sample::{Sample, finished};

const GUIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guides/command-line.md");

/// The transaction the guide is about, and the one after which a write escaped.
const TRANSACTION: &str = "01a1ff14-9db7-7a49-8e5a-000000000741";
const BEFORE_THE_GAP: &str = "01a1ff14-9db7-7a49-8e5a-000000000744";

enum Block {
    Commands(Vec<String>),
    Printed(String),
    Configuration(String),
}

fn blocks() -> Vec<Block> {
    let guide = fs::read_to_string(GUIDE).expect("is there");
    let fenced = guide.split("\n```").skip(1).step_by(2);
    fenced
        .map(|block| {
            let (language, text) = block.split_once('\n').expect("a block has lines");
            match language {
                "sh" => Block::Commands(text.lines().map(str::to_owned).collect()),
                "text" => Block::Printed(text.to_owned()),
                "toml" => Block::Configuration(text.to_owned()),
                other => panic!("this test does not know `{other}`"),
            }
        })
        .collect()
}

/// The text with ids, times and digests, which differ from run to run, as words of the same kind.
fn likened(text: &str) -> String {
    let word = |word: &str| {
        let is_time = |text: &str| text.len() == 16 && text.ends_with('Z') && text.as_bytes()[2] == b':';
        if Uuid::try_parse(word).is_ok() {
            "ID".to_owned()
        } else if word.len() == 10 && word.parse::<chrono::NaiveDate>().is_ok() {
            "DATE".to_owned()
        } else if is_time(word) {
            "TIME".to_owned()
        } else if word.len() == 64 && word.chars().all(|character| character.is_ascii_hexdigit()) {
            "DIGEST".to_owned()
        } else {
            word.to_owned()
        }
    };
    // In SQL an id is between quotes.
    let words = |words: &str| words.split('\'').map(word).collect::<Vec<_>>().join("'");
    let line = |line: &str| line.split(' ').map(words).collect::<Vec<_>>().join(" ");
    text.trim_end().lines().map(line).collect::<Vec<_>>().join("\n")
}

/// Whether this was printed; where the guide has a line with an ellipsis, anything may stand.
fn assert_printed(printed: &str, text: &str) {
    if !text.lines().any(|line| line == "…") {
        return assert_eq!(printed, text);
    }
    let mut rest = printed;
    for part in text.split('…').map(str::trim).filter(|part| !part.is_empty()) {
        let (_, after) = rest.split_once(part).unwrap_or_else(|| panic!("{part}\nis not in\n{printed}"));
        rest = after;
    }
}

/// Runs a line as a shell would: quotes, `> file`, and `||` after what exits with 1.
fn run(sample: &Sample, directory: &Path, line: &str) -> String {
    let line = line.replace(TRANSACTION, &sample.transaction("post.purged"));
    let line = line.replace(BEFORE_THE_GAP, &sample.transaction("post.fourth"));
    let (line, code) = match line.split_once(" || ") {
        Some((line, _)) => (line.to_owned(), 1),
        None => (line, 0),
    };
    let (command, file) = match line.split_once(" > ") {
        Some((command, file)) => (command, Some(file)),
        None => (line.as_str(), None),
    };
    let (mut words, mut is_quoted) = (vec![String::new()], false);
    for character in command.strip_prefix("threadline ").expect("a command of ours").chars() {
        match character {
            '\'' => is_quoted = !is_quoted,
            ' ' if !is_quoted => words.push(String::new()),
            character => words.last_mut().expect("never empty").push(character),
        }
    }
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let run = finished(sample.command(&words).current_dir(directory));
    assert_eq!(run.code, Some(code), "{line}: {}{}", run.stdout, run.stderr);
    if let Some(file) = file {
        fs::write(directory.join(file), &run.stdout).expect("can be written");
    }
    run.stdout
}

#[test]
fn the_guide_is_true() {
    let sample = Sample::new();
    let directory = tempfile::tempdir().expect("a temporary directory");
    let mut printed = String::new();
    let (mut commands, mut compared) = (0, 0);
    for block in blocks() {
        match block {
            Block::Commands(lines) => {
                for line in lines {
                    printed = run(&sample, directory.path(), &line);
                    commands += 1;
                }
            }
            Block::Configuration(text) => {
                fs::write(directory.path().join("threadline.toml"), text).expect("can be written");
            }
            Block::Printed(text) => {
                let role = sample.text("SELECT session_user");
                assert_printed(
                    &likened(&printed),
                    &likened(&text).replace("role postgres", &format!("role {role}")),
                );
                compared += 1;
            }
        }
    }
    assert!(commands >= 30 && compared == 6, "{commands} {compared}");
}

#[test]
fn the_guide_names_every_verb_and_what_it_links_to_is_there() {
    let guide = fs::read_to_string(GUIDE).expect("is there");
    for verb in crate::help::verbs() {
        assert!(
            guide.contains(&format!("threadline {verb}")) || guide.contains(&format!("`{verb}`")),
            "{verb}"
        );
    }
    let folder = Path::new(GUIDE).parent().expect("is in a folder");
    for link in guide.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
        assert!(folder.join(link).exists(), "{link}");
    }
}

#[test]
fn commands_that_other_guides_name_are_taken() {
    let folder = Path::new(GUIDE).parent().expect("is in a folder");
    let mut checked = 0;
    for guide in fs::read_dir(folder).expect("is there") {
        let path = guide.expect("can be read").path();
        let text = fs::read_to_string(&path).expect("is text");
        let spans = text.split('`').skip(1).step_by(2).filter_map(|span| span.strip_prefix("threadline "));
        // A verb by itself is a name; with arguments it is for the reader to type.
        for command in spans.filter(|span| {
            span.contains(' ') && !span.contains(['[', '\n', '|']) && !span.starts_with("VERB")
        }) {
            let mut words: Vec<&str> = command
                .split('\'')
                .enumerate()
                .flat_map(
                    |(at, part)| {
                        if at % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }
                    },
                )
                .collect();
            for word in &mut words {
                // What stands for something of the reader's.
                *word = match *word {
                    "TRANSACTION_ID" | "ID" => TRANSACTION,
                    "TIME" => "now",
                    "TYPE:ID" => "user:1",
                    other => other,
                };
            }
            // Flags that are not known are refused before help is given.
            words.push("--help");
            let run = finished(std::process::Command::new(env!("CARGO_BIN_EXE_threadline")).args(&words));
            assert_eq!(run.code, Some(0), "{}: {command}: {}", path.display(), run.stderr);
            checked += 1;
        }
    }
    assert!(checked >= 10, "{checked}");
}
