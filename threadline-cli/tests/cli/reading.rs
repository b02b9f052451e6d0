//! The verbs that read the trail: what people see, and the documents programs get.

use serde_json::{Value, json};

use crate::sample::Sample;
use crate::schemas::assert_documented;

#[test]
fn every_document_is_as_its_schema_says() {
    let sample = Sample::new();
    // Rows of one table have a gap: what the whole table was cannot be told.
    let (created, published, purged) =
        (sample.mark("created"), sample.mark("published"), sample.mark("purged"));
    let (attached, filled, gap) = (sample.mark("attached"), sample.mark("filled"), sample.mark("gap"));
    let (before, publishing) = (sample.mark("before"), sample.transaction("post.published"));
    let documents: [(&str, Vec<&str>); 28] = [
        ("timeline", vec!["timeline"]),
        ("timeline", vec!["timeline", "--all"]),
        ("timeline", vec!["timeline", "--limit", "2"]),
        ("timeline", vec!["timeline", "--request-id", "nothing"]),
        ("timeline", vec!["actor", "user:42"]),
        ("timeline", vec!["correlation", "import-7"]),
        ("transactions", vec!["actor", "user:42", "--transactions"]),
        ("actions", vec!["actions"]),
        ("count", vec!["timeline", "--count"]),
        ("history", vec!["history", "posts", "1"]),
        ("history", vec!["history", "posts", "4"]),
        ("history", vec!["history", "logs", "1"]),
        ("history", vec!["history", "users", "1"]),
        ("as-of", vec!["as-of", "posts", "1", "--at", &created]),
        ("as-of", vec!["as-of", "posts", "2", "--at", &purged]),
        ("as-of", vec!["as-of", "posts", "2", "--at", &created]),
        ("as-of", vec!["as-of", "posts", "1", "--at", &before]),
        ("as-of", vec!["as-of", "logs", "1", "--at", &filled]),
        ("as-of", vec!["as-of", "posts", "4", "--at", &gap]),
        ("as-of-table", vec!["as-of", "users", "--at", "now"]),
        ("as-of-table", vec!["as-of", "members", "--at", &attached]),
        ("diff", vec!["diff", "posts", "1", "--from", &created, "--to", &published]),
        ("diff", vec!["diff", "posts", "2", "--from", &created, "--to", &published]),
        ("diff", vec!["diff", "logs", "1", "--from", &filled]),
        ("diff-table", vec!["diff", "members", "--from", &attached]),
        ("incident", vec!["incident", &publishing]),
        ("feed", vec!["feed"]),
        ("feed-hold", vec!["feed", "--hold"]),
    ];
    for (schema, mut arguments) in documents {
        arguments.push("--json");
        assert_documented(schema, &sample.json(&arguments));
    }
    for line in sample.done(&["feed", "--all", "--ndjson"]).lines() {
        assert_documented("feed-entry", &serde_json::from_str(line).expect("a line is a document"));
    }
}

#[test]
fn the_pages_put_together_are_all_of_it() {
    let sample = Sample::new();
    let all = sample.json(&["timeline", "--all", "--json"]);
    let all = all["entries"].as_array().expect("a list");
    assert_eq!(sample.done(&["timeline", "--count"]), format!("{}\n", all.len()));
    let (mut paged, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let mut arguments = vec!["timeline", "--limit", "3", "--json"];
        if let Some(cursor) = &cursor {
            arguments.extend(["--cursor", cursor]);
        }
        let page = sample.json(&arguments);
        paged.extend(page["entries"].as_array().expect("a list").clone());
        match page["cursor"].as_str() {
            Some(next) => cursor = Some(next.to_owned()),
            None => break,
        }
    }
    assert_eq!(&paged, all);
    // People get the same cursor, beside what they read.
    let run = sample.run(&["timeline", "--limit", "3"]);
    let cursor = run.stderr.split("--cursor ").nth(1).expect("there are more").trim().to_owned();
    let next = sample.json(&["timeline", "--limit", "3", "--json", "--cursor", &cursor]);
    assert_eq!(next["entries"].as_array().expect("a list")[..], all[3..6]);
    // More than a page can have.
    sample.run_sql("INSERT INTO posts SELECT n, 'many', NULL, 0 FROM generate_series(100, 2300) n");
    let all = sample.json(&["timeline", "--all", "--json"]);
    assert_eq!(all["entries"].as_array().expect("a list").len(), 14 + 2201);
    assert_eq!((&all["cursor"], &all["has_more"]), (&Value::Null, &json!(false)));
    assert_eq!(sample.done(&["timeline", "--all"]).matches("insert public.posts").count(), 4 + 2201);
}

#[test]
fn a_timeline_says_who_did_what_and_why() {
    let sample = Sample::new();
    let shown = sample.done(&["timeline", "--correlation-id", "import-7"]);
    let id = sample.transaction("post.published");
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].ends_with("Z  user:42  post.published"), "{shown}");
    assert_eq!(lines[1], "  because ready for the front page");
    assert_eq!(lines[2], format!("  transaction {id}  request 7f3b  correlation import-7"));
    assert_eq!(lines[3], r#"  insert public.posts 2  body "More"  title "Second"  views 3"#);
    assert_eq!(
        lines[4],
        r#"  update public.posts 1  body "Once upon a time" → NULL  title "Draft" → "Final""#
    );
    assert_eq!(lines.len(), 5, "{shown}");
    let nobody = sample.done(&["timeline", "--actor", "nobody", "--op", "update"]);
    assert!(nobody.lines().next().is_some_and(|line| line.contains("nobody (role ")), "{nobody}");
}

#[test]
fn masked_values_are_told_from_the_placeholder_itself() {
    let sample = Sample::new();
    let history = sample.done(&["history", "users", "1"]);
    assert!(history.contains("email  <masked> → <masked>"), "{history}");
    assert!(sample.done(&["as-of", "users", "--at", "now"]).contains("<masked>"));
    for arguments in
        [&["history", "users", "1"][..], &["timeline", "--json"], &["as-of", "users", "1", "--at", "now"]]
    {
        let shown = sample.done(arguments);
        assert!(!shown.contains("example.org") && !shown.contains("secret-hash"), "{shown}");
    }
    // A row whose value is the placeholder is not masked.
    sample.run_sql("INSERT INTO posts VALUES (5, 'n/a', NULL, 0)");
    let history = sample.done(&["history", "posts", "5"]);
    assert!(history.contains(r#"title  "n/a""#), "{history}");
}

#[test]
fn what_is_not_known_is_said_in_words_and_in_the_exit_code() {
    let sample = Sample::new();
    for (table, key, mark, code, words) in [
        ("posts", "1", "created", 0, r#"title  "Draft""#),
        ("posts", "2", "purged", 0, "It had been deleted at "),
        ("posts", "2", "created", 0, "It did not exist: it was created later, or never."),
        ("posts", "1", "before", 1, "Not known: the trail of this table reaches back to "),
        ("logs", "1", "filled", 1, "and its rows were not kept."),
        ("posts", "4", "gap", 1, "Not certain: between change "),
    ] {
        let run = sample.run(&["as-of", table, key, "--at", &sample.mark(mark)]);
        assert_eq!(run.code, Some(code), "{}{}", run.stdout, run.stderr);
        assert!(run.stdout.contains(words), "{}", run.stdout);
    }
    let run = sample.run(&["as-of", "posts", "--at", &sample.mark("created")]);
    assert_eq!((run.code, run.stdout.as_str()), (Some(1), ""));
    assert!(run.stderr.contains("escaped capture"), "{}", run.stderr);
    let history = sample.done(&["history", "posts", "4"]);
    assert!(history.starts_with("! a write after this change escaped capture"), "{history}");
    let run = sample.run(&["diff", "logs", "1", "--from", &sample.mark("filled")]);
    assert_eq!(run.code, Some(1));
    assert!(run.stdout.contains("Not known: "), "{}", run.stdout);
}

#[test]
fn differences_are_those_between_the_two_times_alone() {
    let sample = Sample::new();
    let (created, published) = (sample.mark("created"), sample.mark("published"));
    let shown = sample.done(&["diff", "posts", "1", "--from", &created, "--to", &published]);
    assert_eq!(
        shown.lines().skip(2).collect::<Vec<_>>(),
        [r#"    body   "Once upon a time" → NULL"#, r#"    title  "Draft" → "Final""#]
    );
    assert!(
        sample
            .done(&["diff", "posts", "1", "--from", &published, "--to", &published])
            .contains("no difference")
    );
    let refused = sample.refused(&["diff", "posts", "1", "--from", &published, "--to", &created]);
    assert!(refused.contains("from") || refused.contains("later"), "{refused}");
    let table = sample.done(&["diff", "members", "--from", &created, "--limit", "1"]);
    assert_eq!(table.matches("added").count(), 1, "{table}");
}

#[test]
fn an_incident_is_the_whole_transaction() {
    let sample = Sample::new();
    let id = sample.transaction("post.published");
    let shown = sample.done(&["incident", &id]);
    for part in [
        "user:42",
        "request 7f3b",
        "correlation import-7",
        r#"metadata {"tenant": "acme"}"#,
        "ok     post.published by user:42",
        "because ready for the front page",
        "update public.posts 1  #1",
        r#"    + title  "Second""#,
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let missing = sample.refused(&["incident", "01a1ff11-b95f-773b-adff-000000000000"]);
    assert!(missing.starts_with("the trail has no transaction "), "{missing}");
}

#[test]
fn a_tenant_narrows_every_verb() {
    let sample = Sample::new();
    let organizations = |arguments: &[&str]| -> Vec<Value> {
        let document = sample.json(&[arguments, &["--tenant", "7", "--json"]].concat());
        let entries =
            ["entries", "rows", "versions", "changes"].iter().find_map(|name| document[*name].as_array());
        entries.unwrap_or_else(|| panic!("{arguments:?}: a list")).clone()
    };
    let id = sample.transaction("members.added");
    for arguments in [
        &["timeline"][..],
        &["actor", "user:42"],
        &["history", "members", "organization_id=7", "user_id=42"],
        &["as-of", "members", "--at", "now"],
        &["diff", "members", "--from", &sample.mark("attached")],
        &["incident", &id],
    ] {
        let shown = organizations(arguments);
        assert_eq!(shown.len(), 1, "{arguments:?}: {shown:?}");
        assert!(!json!(shown).to_string().contains("guest"), "{arguments:?}: {shown:?}");
    }
    assert_eq!(organizations(&["history", "members", "organization_id=8", "user_id=42"]), [] as [Value; 0]);
    assert_eq!(sample.done(&["timeline", "--count", "--tenant", "7"]), "1\n");
    assert_eq!(sample.done(&["timeline", "--count", "--tenant", "7", "--tenant", "8"]), "2\n");
    let other = sample.transaction("post.published");
    assert!(
        sample.refused(&["incident", &other, "--tenant", "7"]).starts_with("the trail has no transaction ")
    );
    assert!(
        sample
            .refused(&["undo", "--transaction", &other, "--tenant", "7"])
            .starts_with("the trail has no transaction ")
    );
    let export = sample.done(&["export", "--tenant", "7", "--format", "ndjson"]);
    assert_eq!(export.lines().count(), 1, "{export}");
}

#[test]
fn what_is_wrong_is_named_by_the_library() {
    let sample = Sample::new();
    for (arguments, words) in [
        (
            &["timeline", "--op", "drop", "--status", "x", "--key", "1"][..],
            "key: is not of the form column=value; status: is neither ok nor error; op: is not one of",
        ),
        (&["timeline", "--schema", "a", "--schema", "b"], "schema: is given twice"),
        (
            &["timeline", "--from", "yesterday"],
            "`yesterday` is no value of `--from`: write `2026-11-21T09:30:00Z`",
        ),
        (&["timeline", "--from", "1h", "--to", "2h"], "from: is later than `to`"),
        (&["actions", "--table", "posts"], "table: asks about changes, not actions"),
        (&["actor", "user:42", "--actor", "user:1"], "actor: is given beside the actor asked about"),
        (&["actor", "robot:1"], "type is not one of user, admin"),
        (&["actor", "user"], "a user has an id"),
        (&["timeline", "--table", "nowhere"], "table `nowhere` has never been audited"),
        (&["history", "posts", "id=1", "id=2"], "write its value, or `id=VALUE`"),
        (&["history", "members", "3"], "write `organization_id=VALUE user_id=VALUE`"),
        (
            &["history", "posts", "nokey=1"],
            "audited by the key (id): a value of the row's key is no `bigint`",
        ),
        (
            &["diff", "posts", "id=zz", "--from", "1h"],
            "audited by the key (id): a value of the row's key is no",
        ),
        (
            &["history", "members", "organization_id=7", "user=1"],
            "audited by the key (organization_id, user_id)",
        ),
        (&["timeline", "--table", "posts", "--key", "nokey=1"], "audited by the key (id), not by (nokey)"),
        (&["timeline", "--table", "posts", "--key", "id=zz"], "a value of the row's key is no `bigint`"),
        (
            &["exports", "enqueue", "--by", "admin:7", "--table", "posts", "--column", "titel"],
            "column: is not a column of any",
        ),
        (
            &["exports", "enqueue", "--by", "admin:7", "--table", "posts", "--key", "nokey=1"],
            "audited by the key (id), not by (nokey)",
        ),
        (&["exports", "show", "1"], "`1` is no value of `ID`: it is not the id of an export"),
        (
            &["evidence", "--reference", "tabel=posts"],
            "no record has the reference `tabel`; there are baseline,",
        ),
        (&["timeline", "--cursor", "v1.x"], "the cursor is not one"),
        (&["feed", "--cursor", "nonsense"], "is no feed cursor"),
    ] {
        let refused = sample.refused(arguments);
        assert!(refused.contains(words), "{arguments:?}: {refused}");
        assert!(!refused.contains("the database refused a statement"), "{arguments:?}: {refused}");
    }
    assert_eq!(sample.text("SELECT count(*) FROM threadline.export_jobs"), "0", "none was queued");
    let nowhere = sample.run(&["evidence", "--reference", "table=pots"]);
    assert!(nowhere.stderr.contains("there is no table `pots`"), "{}", nowhere.stderr);
}

#[test]
fn a_key_is_taken_in_each_form_it_is_shown_in() {
    let sample = Sample::new();
    for key in
        [&["organization_id=7", "user_id=42"][..], &["user_id=42", "organization_id=7"], &[r#"["7", "42"]"#]]
    {
        let shown = sample.done(&[&["history", "members"], key].concat());
        assert!(shown.contains(r#"role             "owner""#), "{key:?}: {shown}");
        assert!(shown.contains("members organization_id=7 user_id=42  #"), "{key:?}: {shown}");
    }
    assert_eq!(
        sample.done(&["history", "posts", "1"]),
        sample.done(&["history", "public.posts", "id=1"]).replace("public.posts", "posts")
    );
}

#[test]
fn a_key_is_spelt_one_way_and_taken_as_it_is_printed() {
    let sample = Sample::new();
    sample.run_sql(
        "CREATE TABLE places (country text, name text, note text, PRIMARY KEY (country, name)); SELECT threadline.attach('places');
        INSERT INTO places VALUES ('fr', 'L''Haÿ les Roses', 'x'); UPDATE places SET note = 'y'; UPDATE places SET country = 'be'",
    );
    let key = r"country=be 'name=L'\''Haÿ les Roses'";
    let id =
        sample.text("SELECT transaction_id FROM threadline.audit_changes ORDER BY captured_at DESC LIMIT 1");
    for (arguments, before) in [
        (&["timeline", "--table", "places"][..], "update public.places "),
        (&["as-of", "places", "--at", "now"], ""),
        (&["undo", "--transaction", &id], "delete public.places "),
    ] {
        let shown = sample.run(arguments).stdout;
        assert!(shown.contains(&format!("{before}{key}")), "{arguments:?}: {shown}");
        assert!(!shown.contains("[\""), "{arguments:?}: {shown}");
    }
    assert!(
        sample
            .done(&["timeline", "--table", "places"])
            .contains(r"(was country=fr 'name=L'\''Haÿ les Roses')")
    );
    // As a shell reads what was printed.
    let taken = sample.json(&["history", "places", "country=be", "name=L'Haÿ les Roses", "--json"]);
    assert_eq!(taken["versions"].as_array().map(Vec::len), Some(1), "{taken}");
    sample.run_sql("CREATE TABLE odd (name text PRIMARY KEY); SELECT threadline.attach('odd'); INSERT INTO odd VALUES ('name=x')");
    assert!(sample.done(&["timeline", "--table", "odd"]).contains("insert public.odd name=name=x"));
    assert_eq!(
        sample.json(&["history", "odd", "name=name=x", "--json"])["versions"].as_array().map(Vec::len),
        Some(1)
    );
}

#[test]
fn times_are_taken_as_postgresql_prints_them() {
    let sample = Sample::new();
    let own = sample.mark("published");
    let printed = sample.text("SELECT at FROM marks WHERE name = 'published'");
    assert!(printed.contains(' ') && printed.ends_with("+00"), "{printed}");
    let shown = |at: &str| sample.done(&["as-of", "posts", "1", "--at", at, "--json"]);
    assert_eq!(shown(&printed), shown(&own));
    let listed = |from: &str| sample.done(&["timeline", "--from", from, "--json"]);
    assert_eq!(listed(&printed), listed(&own));
    assert_eq!(listed(&printed.replace("+00", "+0000")), listed(&own));
}
