//! `threadline retention holds`: what is held stays.

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;

use super::Site;
use crate::sample::HOSTILE;

#[test]
fn what_is_held_stays_until_it_is_released() {
    let site = Site::short("");
    let place = ["retention", "holds", "place"];
    let by = ["--by", "admin:7", "--reason"];
    let why = [&by[..], &[HOSTILE]].concat();
    let held =
        site.json("retention-hold-placed", &[&place[..], &["--table", "posts", "--key", "1"], &why].concat());
    assert!(held["changes"].as_u64() > Some(0) && held["warnings"] == json!([]), "{held}");
    assert_eq!(held["hold"]["table"]["name"], "posts");
    let told = site.done(&[&place[..], &["--actor", "admin:7", "--from", "2020-01-01"], &why].concat());
    assert!(told.starts_with("placed\nhold 2  actor admin:7, from 2020-01-01 00:00:00.000000Z\n"), "{told}");
    assert!(!told.contains(['\u{1b}', '\u{9b}', '\u{202e}']) && told.contains("\\u{1b}[2J"), "{told}");
    let nothing = site.run(&[&place[..], &["--table", "posts", "--key", "987"], &why].concat());
    assert!(nothing.stdout.contains("holds 0 changes now"), "{}", nothing.stdout);
    assert!(nothing.code == Some(0) && nothing.stderr.contains("matches nothing"), "{}", nothing.stderr);
    site.done(&["retention", "holds", "release", "3", "--by", "admin:7", "--reason", "mistyped"]);
    for wrong in [
        &["--key", "1"][..],
        &["--everything", "--table", "posts"],
        &[],
        &["--table", "nowhere"],
        &["--table", "posts", "--key", "a=1"],
        &["--from", "2026-01-02", "--to", "2026-01-01"],
    ] {
        site.refused(&[&place[..], wrong, &why].concat());
    }
    site.refused(&["retention", "holds", "place", "--everything", "--by", "admin:7"]);
    assert_eq!(
        site.json("retention-holds", &["retention", "holds", "list"])["holds"].as_array().map(Vec::len),
        Some(2)
    );

    sleep(Duration::from_millis(1100));
    site.done(&["retention", "run", "--execute"]);
    let kept = site.sample.text(
        "SELECT string_agg(DISTINCT a.table_name, ' ' ORDER BY a.table_name) FROM threadline.audit_changes c JOIN threadline.audited_tables a ON a.id = c.table_id",
    );
    assert_eq!(kept, "posts users");
    let release = ["retention", "holds", "release"];
    let released = site.json("retention-hold", &[&release[..], &["2"], &by, &["settled"]].concat());
    assert_eq!(released["hold"]["release_reason"], "settled");
    let again = site.refused(&[&release[..], &["2"], &by, &["settled"]].concat());
    let at = released["hold"]["released_at"].as_str().expect("an instant");
    let said = format!("hold 2 was released before, at {}Z by admin:7", &at[..19]);
    assert!(again.contains(&said), "{again}");
    let none = site.refused(&[&release[..], &["99"], &by, &["settled"]].concat());
    assert!(none.contains("there is no hold 99"), "{none}");
    site.done(&[&release[..], &["1"], &by, &["settled"]].concat());
    assert_eq!(site.done(&["retention", "holds", "list"]), "");
    assert!(site.done(&["retention", "holds", "list", "--released"]).contains("settled"));
    site.done(&["retention", "run", "--execute"]);
    assert_eq!(site.changes(), 0);
}

#[test]
fn a_held_row_is_named_as_it_was_given() {
    let site = Site::short("");
    let why = ["--by", "admin:7", "--reason", "case 14"];
    let key = ["--key", "user_id=42", "--key", "organization_id=7"];
    let placed = [&["retention", "holds", "place", "--table", "members"], &key[..], &why[..]].concat();
    let told = site.done(&placed);
    assert!(told.contains("hold 1  table public.members, row organization_id=7 user_id=42\n"), "{told}");
    assert!(site.done(&["retention", "holds", "list"]).contains("row organization_id=7 user_id=42\n"));
    let hold = site.json("retention-holds", &["retention", "holds", "list"])["holds"][0].clone();
    assert_eq!(hold["key"], json!({"organization_id": "7", "user_id": "42"}));
    assert_eq!(hold["row_key"], r#"["7", "42"]"#);
    // Of a table that is gone, too.
    site.sample.run_sql("DROP TABLE members");
    assert!(site.done(&["retention", "holds", "list"]).contains("row organization_id=7 user_id=42\n"));
}

#[test]
fn a_tenant_is_not_held_where_no_change_says_one() {
    let site = Site::short("");
    let place = ["retention", "holds", "place", "--tenant", "7", "--by", "admin:7", "--reason", "case 14"];
    for blank in ["", " "] {
        let refused = site.refused(&[
            "retention",
            "holds",
            "place",
            "--tenant",
            blank,
            "--by",
            "admin:7",
            "--reason",
            "case 14",
        ]);
        assert!(refused.contains("the tenant to hold is blank"), "{refused}");
    }
    let refused = site.refused(&[&place[..], &["--table", "posts"]].concat());
    assert!(refused.contains("table `posts` has no scope column"), "{refused}");
    site.done(&[&place[..], &["--table", "members"]].concat());
    // What was captured while there was one is still held by it.
    site.sample.run_sql("SELECT threadline.attach('members')");
    site.sample.run_sql("UPDATE threadline.audited_tables SET scope_column = NULL");
    site.done(&place);
    site.sample.run_sql("DELETE FROM threadline.audit_changes");
    let refused = site.refused(&place);
    assert!(refused.contains("no audited table has a scope column"), "{refused}");
    assert_eq!(site.sample.text("SELECT count(*) FROM threadline.legal_holds"), "2", "of those refused none");
}
