//! `threadline exports` and `worker`: what is made in the background.

use std::fs;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use super::Site;

#[test]
fn a_queued_export_is_made_by_the_worker_and_downloaded() {
    let site = Site::new("");
    let enqueue = ["exports", "enqueue", "--table", "posts", "--format", "ndjson", "--by", "admin:7"];
    let id = site.json("exports-job", &enqueue)["job"]["id"].as_str().expect("has one").to_owned();
    let later =
        site.json("exports-job", &[&enqueue[..], &["--at", "2100-01-01", "--every", "1day"]].concat());
    let later = later["job"]["id"].as_str().expect("has one").to_owned();
    let file = site.path().join("posts.ndjson");
    let download = ["exports", "download", &id, "--output", "posts.ndjson"];
    let early = site.run(&download);
    assert_eq!((early.code, file.exists()), (Some(1), false), "{}", early.stderr);

    site.done(&["worker", "--once"]);
    let job = site.json("exports-job", &["exports", "show", &id]);
    assert_eq!(job["job"]["state"], "completed");
    let manifest = site.json("exports-download", &download);
    let text = fs::read_to_string(&file).expect("was written");
    assert_eq!(manifest["summary"]["rows"], json!(text.lines().count()));
    assert_eq!(text, site.done(&["export", "--table", "posts", "--format", "ndjson"]));
    assert!(site.refused(&download).contains("`--force` replaces it"));
    let stored = fs::read_dir(site.path().join("storage/exports")).expect("is there").next();
    let stored = stored.expect("one file").expect("readable").path();
    fs::write(&stored, text.replacen('1', "2", 1)).expect("can be written");
    assert!(site.refused(&[&download[..], &["--force"]].concat()).contains("not what was made"));
    assert_eq!(fs::read_to_string(&file).expect("is still there"), text);
    // However long it has become, no more of it is read than was written.
    fs::File::options().write(true).open(&stored).and_then(|file| file.set_len(6 << 30)).expect("a hole");
    let refused = site.refused(&["exports", "download", &id, "--output", "big.ndjson"]);
    let (name, written) = (&stored.file_name().expect("has one").to_string_lossy(), text.len());
    let said = format!("`exports/{name}` has {} bytes, and {written} were written", 6_u64 << 30);
    assert!(refused.contains(&said), "{refused}");
    let names =
        fs::read_dir(site.path()).expect("is there").map(|entry| entry.expect("readable").file_name());
    assert!(
        names
            .map(|name| name.to_string_lossy().into_owned())
            .all(|name| !name.starts_with("big") && !name.ends_with(".partial"))
    );

    assert_eq!(site.json("exports", &["exports", "list"])["jobs"].as_array().map(Vec::len), Some(2));
    assert_eq!(site.json("exports", &["exports", "list", "--by", "user:1"])["jobs"], json!([]));
    assert!(site.done(&["exports", "show", &later]).contains("every     1day"));
    assert_eq!(site.json("exports-cancel", &["exports", "cancel", &later])["cancelled"], 1);
    assert_eq!(site.run(&["exports", "cancel", &later]).code, Some(1));
    assert!(site.refused(&["exports", "show", &later.replace('0', "1")]).contains("there is no export job"));
    site.refused(&["exports", "enqueue", "--by", "anonymous"]);
    site.refused(&["exports", "enqueue", "--by", "admin:7", "--every", "1s"]);
}

#[test]
fn an_export_of_a_tenant_has_nothing_of_others() {
    let site = Site::new("");
    let enqueue = ["exports", "enqueue", "--tenant", "7", "--format", "ndjson", "--by", "user:42"];
    let id = site.json("exports-job", &enqueue)["job"]["id"].as_str().expect("has one").to_owned();
    site.done(&["worker", "--once"]);
    site.done(&["exports", "download", &id, "--output", "seven.ndjson"]);
    let text = fs::read_to_string(site.path().join("seven.ndjson")).expect("was written");
    assert_eq!(text, site.done(&["export", "--tenant", "7", "--format", "ndjson"]));
    assert!(text.contains("owner") && !text.contains("guest"), "{text}");
}

#[cfg(unix)]
#[test]
fn a_worker_works_until_it_is_told_to_stop_and_says_what_failed() {
    let site = Site::short("");
    let mut command = site.command(&["worker"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("starts");
    for _ in 0..500 {
        if site.changes() == 0 {
            break;
        }
        sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().expect("is there").success());
    let ended = child.wait_with_output().expect("ends");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!((ended.status.code(), ended.stdout.as_slice()), (Some(0), &b""[..]), "{said}");
    assert!(said.contains("working by `threadline.toml`"), "{said}");

    let wrong = Site::short("tables = { \"public.nowhere\" = \"2s\" }");
    let run = wrong.run(&["worker", "--once"]);
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.ends_with("error: 1 of 5 tasks failed: retention\n"), "{}", run.stderr);
    assert!(run.stdout.contains("retention   failed  ") && run.stdout.contains("nowhere"), "{}", run.stdout);
    fs::write(wrong.path().join("threadline.toml"), "[worker]\nhealth_evry = \"1s\"")
        .expect("can be written");
    assert!(wrong.refused(&["worker", "--once"]).contains("did you mean `health_every`"));
}
