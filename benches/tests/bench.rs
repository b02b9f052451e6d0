//! The promises of the `bench` program, at the smallest sizes.

use std::process::{Command, Output};

use serde_json::Value;

fn bench(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_bench")).args(args).output().expect("the binary runs")
}

#[test]
fn json_has_the_figures_with_goals() {
    let output = bench(&["capture", "--json", "--smoke"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value =
        serde_json::from_slice(&output.stdout).expect("standard output is JSON, and nothing else");
    assert_eq!(report.as_object().unwrap().keys().collect::<Vec<_>>(), ["figures", "machine"]);
    let figures = report["figures"].as_array().unwrap();
    let goal = |name: &str| &figures.iter().find(|figure| figure["name"] == name).expect(name)["goal"];
    assert_eq!(goal("capture.bulk_update.overhead_ratio"), 0.2);
    assert_eq!(goal("capture.bulk_insert.overhead_ratio"), 0.4);
    assert_eq!(goal("capture.ten_updates.overhead_ratio"), 0.25);
    assert_eq!(goal("capture.two_of_13_columns.stored_bytes"), 250.0);
    for unmeasured in ["one_insert", "one_update", "bulk_delete"] {
        assert!(goal(&format!("capture.{unmeasured}.overhead_ratio")).is_null());
    }
    for figure in figures {
        assert_eq!(figure.as_object().unwrap().len(), 5, "{figure}");
        assert!(
            figure["value"].is_f64() && figure["unit"].is_string() && figure["better"] == "lower",
            "{figure}"
        );
    }
}

#[test]
fn read_tells_latencies_and_rates_and_which_way_each_improves() {
    let output = bench(&["read", "--json", "--smoke"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("standard output is JSON");
    let figures = report["figures"].as_array().unwrap();
    let figure = |name: &str| figures.iter().find(|figure| figure["name"] == name).expect(name);
    let goals = [
        ("timeline_page", Some(2.0)),
        ("row_history_100", Some(2.0)),
        ("as_of", None),
        ("incident_20", Some(2.0)),
    ];
    for (name, goal) in goals {
        let [p50, p99] =
            ["p50_ms", "p99_ms"].map(|quantity| figure(&format!("read.{name}.{quantity}")).clone());
        assert_eq!(p50["goal"].as_f64(), goal, "{name}");
        let [p50, p99] = [&p50, &p99].map(|figure| {
            assert_eq!((&figure["unit"], &figure["better"]), (&"ms".into(), &"lower".into()), "{name}");
            figure["value"].as_f64().unwrap()
        });
        assert!(0.0 < p50 && p50 <= p99, "{name}: {p50} {p99}");
    }
    assert_eq!(figure("read.plain_select.rows_per_s")["better"], "higher");
    assert!(figure("read.plain_select.rows_per_s")["value"].as_f64().unwrap() > 1000.0);
    assert_eq!(figure("read.plain_select.peak_mib")["better"], "lower");
    // There is one trail, so nothing to compare it with.
    assert!(!figures.iter().any(|figure| figure["name"].as_str().unwrap().ends_with("growth_ratio")));
}

#[test]
fn exports_tells_rates_and_memory_of_both_ways() {
    let output = bench(&["exports", "--json", "--smoke"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("standard output is JSON");
    let figures = report["figures"].as_array().unwrap();
    let figure = |name: &str| figures.iter().find(|figure| figure["name"] == name).expect(name);
    for way in ["direct", "worker"] {
        let rate = figure(&format!("exports.{way}.rows_per_s"));
        assert_eq!(rate["better"], "higher");
        assert!(rate["value"].as_f64().unwrap() > 100.0);
    }
    assert_eq!(figure("exports.worker.peak_mib")["goal"], 64.0);
}

#[test]
fn unknown_name_or_flag_is_refused_with_the_known_ones() {
    for (args, known) in [
        (&["captur"][..], "[possible values: capture, exports, health, read, request, retention, surface]"),
        (&["capture", "--fast"], "[--quick] [--json]"),
        (&[], "<NAME>"),
    ] {
        let output = bench(args);
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {stderr}");
        assert!(stderr.contains(known), "{args:?}: {stderr}");
    }
}

#[test]
fn retention_and_health_tell_what_they_are_to_stay_under() {
    for (name, figures) in [
        (
            "retention",
            &[
                ("retention.partition.s", Some(1.0)),
                ("retention.partition.returned_mib", None),
                ("retention.batched.rows_per_s", None),
                ("retention.batched.slowest_batch_ms", None),
            ][..],
        ),
        (
            "health",
            &[
                ("health.coverage.s", Some(2.0)),
                ("health.findings.s", Some(2.0)),
                ("health.verify.s", Some(2.0)),
            ],
        ),
    ] {
        let output = bench(&[name, "--json", "--smoke"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: Value = serde_json::from_slice(&output.stdout).expect("standard output is JSON");
        let found: Vec<_> = report["figures"].as_array().unwrap().iter().collect();
        for (figure, (name, goal)) in found.iter().zip(figures) {
            assert_eq!((&figure["name"], figure["goal"].as_f64()), (&Value::from(*name), *goal));
            assert!(figure["value"].as_f64().unwrap() >= 0.0, "{figure}");
        }
        assert_eq!(found.len(), figures.len());
    }
}

#[test]
fn surface_opens_every_page_and_tells_what_it_is_to_stay_under() {
    let output = bench(&["surface", "--json", "--smoke"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("standard output is JSON");
    let figures = report["figures"].as_array().unwrap();
    let goal = |name: &str| {
        figures.iter().find(|figure| figure["name"] == name).map(|figure| figure["goal"].as_f64())
    };
    assert_eq!(goal("surface.timeline.p50_ms"), Some(Some(20.0)));
    assert_eq!(goal("surface.row.first_visit_kb"), Some(Some(100.0)));
    assert_eq!(goal("surface.together.pages_per_s"), Some(None));
    assert!(figures.iter().all(|figure| figure["value"].as_f64().unwrap() > 0.0));
}
