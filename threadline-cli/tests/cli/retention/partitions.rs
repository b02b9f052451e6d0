//! `threadline partitions`: the months there are, and those made ahead.

use serde_json::Value;

use super::Site;
use crate::sample::Sample;
use crate::schemas::assert_documented;

#[test]
fn a_partition_says_of_its_changes_what_is_known() {
    let sample = Sample::new();
    let month = sample.text("SELECT to_char(now() AT TIME ZONE 'UTC', 'YYYY_MM')");
    let changes = |of: &str| {
        let listed = sample.done(&["partitions"]);
        let line = listed.lines().find(|line| line.starts_with(of)).expect("is listed");
        line.split_whitespace().nth(3).expect("a column").to_owned()
    };
    let estimate = || {
        let document = sample.json(&["partitions", "--json"]);
        assert_documented("partitions", &document);
        let partitions = document["partitions"].as_array().expect("a list").iter();
        let of = |found: &Value| found["changes_estimate"].clone();
        partitions.filter(|found| found["name"] == month.as_str()).map(of).next().expect("is there")
    };
    assert_eq!((changes(&month).as_str(), changes("tail").as_str()), ("unknown", "0"));
    assert_eq!(estimate(), Value::Null);
    sample.run_sql("ANALYZE threadline.audit_changes");
    let count = sample.text("SELECT count(*) FROM threadline.audit_changes");
    assert_eq!((changes(&month), changes("tail").as_str()), (format!("~{count}"), "0"));
    assert_eq!(estimate().to_string(), count);
}

#[test]
fn partitions_are_listed_and_made_ahead() {
    let site = Site::new("");
    let listed = site.json("partitions", &["partitions", "list"]);
    assert_eq!(
        listed,
        site.json("partitions", &["partitions"]).as_object().map_or(Value::Null, |found| {
            let mut found = found.clone();
            found["runway"] = listed["runway"].clone();
            Value::Object(found)
        })
    );
    assert_eq!(site.json("partitions-maintain", &["partitions", "maintain"])["months_added"], 0);
    site.end_month();
    let run = site.run(&["partitions"]);
    assert_eq!(run.code, Some(1), "{}", run.stdout);
    assert!(run.stdout.contains("`threadline partitions maintain` makes more"), "{}", run.stdout);
    let added = site.json("partitions-maintain", &["partitions", "maintain"])["months_added"].clone();
    assert!(added.as_u64() > Some(2), "{added}");
    assert!(site.done(&["partitions"]).contains("ahead"));
}
