//! `threadline retention`, `partitions`, `exports` and `worker`: what goes, what stays, and what is done meanwhile.

mod archives;
mod exports;
mod holds;
mod partitions;
mod runs;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use insta::{assert_snapshot, with_settings};
use serde_json::Value;
use tempfile::TempDir;

use crate::host::Run;
use crate::sample::{Sample, bare, finished};
use crate::schemas::assert_documented;

/// A trail, and a directory with a `threadline.toml` to work in.
struct Site {
    sample: Sample,
    directory: TempDir,
}

impl Site {
    /// With these lines in `[retention]`, and a storage.
    fn new(retention: &str) -> Self {
        let site = Self { sample: Sample::new(), directory: TempDir::new().expect("a temporary directory") };
        let storage = site.path().join("storage");
        let text = format!("[retention]\n{retention}\n[storage]\nurl = \"file://{}\"\n", storage.display());
        fs::write(site.path().join("threadline.toml"), text).expect("can be written");
        site.done(&["storage", "create"]);
        site
    }

    /// One that removes what is older than a second.
    fn short(more: &str) -> Self {
        Self::new(&format!("keep = \"1s\"\nminimum = \"0s\"\npause = \"0ms\"\n{more}"))
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.sample.command(arguments);
        command.current_dir(self.path()).env_remove("THREADLINE_CONFIG");
        command
    }

    fn run(&self, arguments: &[&str]) -> Run {
        finished(&mut self.command(arguments))
    }

    fn done(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!(run.code, Some(0), "{arguments:?}: {}{}", run.stdout, run.stderr);
        run.stdout
    }

    /// The document of `--json`, which is as the schema says.
    fn json(&self, schema: &str, arguments: &[&str]) -> Value {
        let text = self.done(&[arguments, &["--json"]].concat());
        let document = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
        assert_documented(schema, &document);
        document
    }

    /// As [`run`](Self::run), which must not be able to; what it says.
    fn refused(&self, arguments: &[&str]) -> String {
        let run = self.run(arguments);
        assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{arguments:?}: {}", run.stderr);
        run.stderr
    }

    fn changes(&self) -> u64 {
        let count = self.sample.text("SELECT count(*) FROM threadline.audit_changes");
        count.parse().expect("a number")
    }

    /// Has the trail so far end some milliseconds from now, in a month that is over: `2001_01`.
    fn end_month(&self) {
        self.sample.run_sql(
            "DO $$ DECLARE parent text; ends uuid := threadline.first_id_at(clock_timestamp() + interval '1 second'); part record; BEGIN
                FOR part IN SELECT label FROM threadline.partitions() LOOP
                    FOREACH parent IN ARRAY threadline.trail_tables() LOOP
                        EXECUTE format('ALTER TABLE threadline.%I DETACH PARTITION threadline.%I', parent, parent || part.label);
                        IF part.label = to_char(now() AT TIME ZONE 'UTC', '_YYYY_MM') THEN
                            EXECUTE format('ALTER TABLE threadline.%I RENAME TO %I', parent || part.label, parent || '_2001_01');
                        ELSE
                            EXECUTE format('DROP TABLE threadline.%I', parent || part.label);
                        END IF;
                    END LOOP;
                END LOOP;
                FOREACH parent IN ARRAY threadline.trail_tables() LOOP
                    EXECUTE format('ALTER TABLE threadline.%I ATTACH PARTITION threadline.%I FOR VALUES FROM (MINVALUE) TO (%L)', parent, parent || '_2001_01', ends);
                    EXECUTE format('CREATE TABLE threadline.%I PARTITION OF threadline.%I FOR VALUES FROM (%L) TO (MAXVALUE)', parent || '_tail', parent, ends);
                END LOOP;
            END $$",
        );
        sleep(Duration::from_millis(2300));
    }
}

const SUBCOMMANDS: [&[&str]; 16] = [
    &["retention", "plan"],
    &["retention", "run"],
    &["retention", "runs"],
    &["retention", "holds", "list"],
    &["retention", "holds", "place"],
    &["retention", "holds", "release"],
    &["retention", "archives"],
    &["retention", "restore"],
    &["retention", "release"],
    &["partitions", "list"],
    &["partitions", "maintain"],
    &["exports", "list"],
    &["exports", "show"],
    &["exports", "enqueue"],
    &["exports", "cancel"],
    &["exports", "download"],
];

#[test]
fn help_says_what_each_subcommand_does_and_none_ignores_what_is_misspelt() {
    with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
        for command in SUBCOMMANDS {
            let run = finished(&mut bare(&[command, &["--help"]].concat()));
            assert_eq!((run.code, run.stderr.as_str()), (Some(0), ""), "{command:?}");
            let help = run.stdout.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
            assert!(help.lines().all(|line| line.chars().count() <= 100), "{help}");
            assert_snapshot!(format!("threadline-{}", command.join("-")), help);
            for wrong in [&["--exekute"][..], &["stray", "stray"]] {
                let run = finished(&mut bare(&[command, wrong].concat()));
                assert_eq!((run.code, run.stdout.as_str()), (Some(2), ""), "{command:?} {wrong:?}");
            }
        }
    });
}

#[test]
fn every_verb_of_the_family_takes_a_configuration_and_says_when_it_is_wrong() {
    let site = Site::short("");
    let right = site.path().join("threadline.toml").display().to_string();
    let wrong = site.path().join("wrong.toml");
    fs::write(&wrong, "[retention]\nkeep = 7\n").expect("can be written");
    let wrong = wrong.display().to_string();
    let verbs: [&[&str]; 5] = [&["plan"], &["run"], &["runs"], &["holds", "list"], &["archives"]];
    for verb in verbs {
        let command = [&["retention"], verb, &["--config"]].concat();
        site.done(&[&command[..], &[&right]].concat());
        let refused = site.refused(&[&command[..], &[&wrong]].concat());
        assert!(refused.contains("retention.keep"), "{verb:?}: {refused}");
        let refused = site.refused(&[&command[..], &["/nonexistent"]].concat());
        assert!(refused.contains("/nonexistent"), "{verb:?}: {refused}");
    }
    // One that is only found keeps nobody from seeing what is held.
    fs::write(&right, "[retention]\nkeep = 7\n").expect("can be written");
    site.done(&["retention", "holds", "list"]);
}

#[test]
fn no_id_no_time_and_no_name_is_cut_however_narrow_the_terminal() {
    let site = Site::short("archive = true");
    site.end_month();
    site.done(&["retention", "run", "--execute"]);
    let job = site.json("exports-job", &["exports", "enqueue", "--by", "admin:7"])["job"].clone();
    let run = site.json("retention-runs", &["retention", "runs"])["runs"][0].clone();
    let printed = |time: &Value| time.as_str().expect("a time").replace('T', " ");
    let partitions = site.json("partitions", &["partitions"]);
    let named = |name: &Value| name.as_str().is_some_and(|name| name.starts_with("filler_"));
    assert!(
        partitions["partitions"].as_array().expect("a list").iter().any(|one| named(&one["name"])),
        "{partitions}"
    );
    for (arguments, whole) in [
        (
            &["retention", "runs"][..],
            vec![printed(&run["started_at"]), "service_account:threadline".to_owned()],
        ),
        (
            &["exports", "list"],
            vec![job["id"].as_str().expect("a text").to_owned(), printed(&job["scheduled_at"])],
        ),
        (
            &["partitions"],
            vec!["filler".to_owned(), "attached, for clocks set back".to_owned(), "tail".to_owned()],
        ),
    ] {
        for width in
            [&["--width", "60"][..], &["--width", "80"], &["--width", "100"], &["--width", "140"], &[]]
        {
            let shown = site.done(&[arguments, width].concat());
            for part in &whole {
                assert!(shown.contains(part), "{arguments:?} {width:?} {part}: {shown}");
            }
            assert!(!shown.contains('…') && !shown.contains("gap"), "{arguments:?} {width:?}: {shown}");
            let most = width.last().map_or(usize::MAX, |columns| columns.parse().expect("a number"));
            assert!(shown.lines().all(|line| line.chars().count() <= most), "{shown}");
        }
        // So narrow that an id is wider than the line, it is whole all the same.
        let shown = site.done(&[arguments, &["--width", "25"]].concat());
        assert!(whole.iter().all(|part| shown.contains(part)), "{shown}");
    }
}
