//! The health in the header and on Home: true, told to whom may know, and asked seldom.

use threadline_tests::run;

use super::site::{Site, Visitor};

fn pill(body: &str) -> Option<String> {
    let pill = body.split("class=\"pill ").nth(1)?;
    Some(pill.split("</a>").next()?.to_owned())
}

fn truth(body: &str, name: &str) -> Option<String> {
    let truth =
        body.split("class=\"truth ").find(|truth| truth.contains(&format!("truth-name\">{name}<")))?;
    Some(truth.split("</li>").next()?.to_owned())
}

#[test]
fn the_pill_tells_what_is_wrong_to_whom_may_know_and_is_not_asked_at_each_page() {
    let site = Site::new();
    let (old, new) = (site.config(), site.config());
    let warm = pill(&site.see(old.clone(), Visitor::Admin, "").body).unwrap();
    assert!(warm.starts_with("good") || warm.starts_with("warning"), "{warm}");
    assert_eq!(pill(&site.see(old.clone(), Visitor::Support, "").body), None);
    run(&mut site.db.connect(), "ALTER TABLE notes DISABLE TRIGGER USER");
    // Long enough for an answer to a question that a page did not wait for.
    for _ in 0..30 {
        let same = pill(&site.see(old.clone(), Visitor::Admin, "timeline").body).unwrap();
        assert_eq!(same, warm, "it was asked again");
    }
    let told = pill(&site.see(new.clone(), Visitor::Admin, "timeline").body).unwrap();
    assert!(told.starts_with("bad") && told.contains("error"), "{told}");
    // Coverage has what the header has, and says how old that is; whoever wants it anew has it asked.
    let known = site.see(old.clone(), Visitor::Admin, "coverage").body;
    assert!(!known.contains("class=\"finding error\"") && known.contains("coverage?anew=yes"), "{known}");
    let anew = site.see(old.clone(), Visitor::Admin, "coverage?anew=yes").body;
    assert!(anew.contains("class=\"finding error\""), "{anew}");
    let told = pill(&site.see(old, Visitor::Admin, "timeline").body).unwrap();
    assert!(told.starts_with("bad"), "{told}");
    let home = site.see(new, Visitor::Admin, "").body;
    assert!(truth(&home, "Capture").unwrap().contains("Not everything is captured"), "{home}");
}

#[test]
fn home_says_what_is_so_and_only_what_one_may_know() {
    let site = Site::new();
    let home = site.get(Visitor::Support, "").body;
    assert_eq!((truth(&home, "Capture"), truth(&home, "Retention")), (None, None));
    assert!(truth(&home, "Changes").unwrap().contains("The last one that you may see"), "{home}");
    let home = site.get(Visitor::Admin, "").body;
    assert!(truth(&home, "Retention").unwrap().contains("kept for ever"), "{home}");
    let policy = "[retention]\nkeep = \"90d\"\n";
    let operation: threadline::config::Config = threadline::config::Config::parse(policy).unwrap();
    let home = site.see(site.config().operation(operation.clone()), Visitor::Admin, "").body;
    let told = truth(&home, "Retention").unwrap();
    assert!(
        told.starts_with("warning") && told.contains("kept 90 days, and retention has never run"),
        "{told}"
    );
    run(
        &mut site.db.connect(),
        "INSERT INTO threadline.retention_runs (state, asked_by, error, backend_pid, silence_limit, policy, ended_at) \
         VALUES ('failed', '{\"type\": \"system\", \"id\": \"worker\"}', 'archive', 1, '1 hour', '{}', now())",
    );
    let home = site.see(site.config().operation(operation), Visitor::Admin, "").body;
    let told = truth(&home, "Retention").unwrap();
    assert!(told.starts_with("bad") && told.contains("the last run failed"), "{told}");
}
