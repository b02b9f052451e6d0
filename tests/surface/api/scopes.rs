//! That who is limited to a tenant can neither see nor guess what belongs to another.

use super::{ask, each, told, transaction_of};
use crate::site::{Site, Visitor};

/// Asks for what is hidden and for what is not there: the answers differ by nothing but what was asked for.
fn assert_alike(site: &Site, status: u16, ask_for: impl Fn(&str) -> String, hidden: &str, missing: &str) {
    let (question, other) = (ask_for(hidden), ask_for(missing));
    let (hidden_answer, missing_answer) =
        (ask(site, Visitor::Support, &question), ask(site, Visitor::Support, &other));
    assert_eq!(
        (hidden_answer.status, missing_answer.status),
        (status, status),
        "{question}: {}",
        hidden_answer.body
    );
    assert_eq!(
        hidden_answer.body.replace(&format!("\"{hidden}\""), "IT"),
        missing_answer.body.replace(&format!("\"{missing}\""), "IT"),
        "{question}"
    );
}

#[test]
fn what_is_hidden_and_what_is_missing_are_answered_alike() {
    let site = Site::new();
    site.write("user:8", "UPDATE notes SET title = 'again' WHERE id = 8");
    site.write("user:8", "DELETE FROM notes WHERE id = 8");
    let hidden = transaction_of(&site, 8);
    let missing = "00000000-0000-7000-8000-000000000000";
    assert_alike(&site, 404, |id| format!("transactions/{id}"), &hidden, missing);
    assert_alike(&site, 404, |id| format!("undo?transaction={id}"), &hidden, missing);
    assert_alike(&site, 404, |id| format!("undo?action={id}"), &hidden, missing);
    assert_alike(&site, 404, |id| format!("undo?change={id}%231"), &hidden, missing);
    for key in ["8", "id%3D8"] {
        let written = |id: &str| key.replace('8', id);
        assert_alike(&site, 200, |id| format!("rows/history?table=notes&key={}", written(id)), "8", "9");
        for at in ["2001-01-01T00:00:00Z", "2099-01-01T00:00:00Z"] {
            assert_alike(
                &site,
                200,
                |id| format!("rows/as-of?table=notes&key={}&at={at}", written(id)),
                "8",
                "9",
            );
        }
        let diff =
            |id: &str| format!("rows/diff?table=notes&key={}&from=2001-01-01&to=2099-01-01", written(id));
        assert_alike(&site, 200, diff, "8", "9");
        let undo = |id: &str| format!("undo?table=notes&key={}&to=2001-01-01", written(id));
        assert_alike(&site, 404, undo, "8", "9");
    }
    assert_alike(&site, 200, |id| format!("timeline?table=notes&key=id%3D{id}"), "8", "9");
    assert_alike(&site, 200, |id| format!("timeline/count?actor=user:{id}"), "8", "9");
    assert_alike(&site, 200, |id| format!("actors/changes?actor=user:{id}"), "8", "9");
    assert_alike(&site, 200, |id| format!("actors/transactions?actor=user:{id}"), "8", "9");
}

#[test]
fn a_row_while_it_is_there_is_hidden_too() {
    let site = Site::new();
    assert_alike(
        &site,
        200,
        |id| format!("rows/as-of?table=notes&key={id}&at=2099-01-01T00:00:00Z"),
        "8",
        "9",
    );
    assert_alike(&site, 200, |id| format!("rows/history?table=notes&key={id}"), "8", "9");
    let seen = ask(&site, Visitor::Admin, "rows/as-of?table=notes&key=8&at=2099-01-01T00:00:00Z");
    assert!(seen.body.contains("marker-8"), "{}", seen.body);
}

#[test]
fn a_cursor_of_somebody_who_sees_more_leads_to_nothing_more() {
    let site = Site::new();
    for round in 0..6 {
        let tenant = 7 + round % 2;
        site.write(
            &format!("user:{tenant}"),
            &format!("UPDATE notes SET title = 'of {tenant} in {round}' WHERE id = {tenant}"),
        );
    }
    let own = each(&told(&site, Visitor::Support, "timeline?limit=1000"), "/change/transaction_id");
    assert_eq!(own.len(), 4);
    let mut after = String::new();
    let mut hidden_places = 0;
    loop {
        let whole = told(&site, Visitor::Admin, &format!("timeline?limit=1{after}"));
        let Some(cursor) = whole["cursor"].as_str() else { break };
        hidden_places += usize::from(!own.contains(&each(&whole, "/change/transaction_id")[0]));
        after = format!("&after={cursor}");
        for question in [format!("timeline?{}", &after[1..]), format!("actors/changes?actor=user:8{after}")] {
            let answer = ask(&site, Visitor::Support, &question);
            assert_eq!(answer.status, 200, "{question}: {}", answer.body);
            assert!(!answer.body.contains("of 8 in") && !answer.body.contains("marker-8"), "{}", answer.body);
            let seen: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
            assert!(each(&seen, "/change/transaction_id").iter().all(|id| own.contains(id)));
        }
    }
    assert!(hidden_places > 0, "no cursor was at a hidden change");
}

#[test]
fn counts_and_lists_have_only_what_may_be_seen() {
    let site = Site::new();
    assert_eq!(told(&site, Visitor::Admin, "timeline/count")["counted"], 2);
    assert_eq!(told(&site, Visitor::Support, "timeline/count")["counted"], 1);
    for question in
        ["timeline", "timeline?table=notes", "correlations?id=import-7", "actions", "timeline?schema=public"]
    {
        let answer = ask(&site, Visitor::Support, question);
        assert_eq!(answer.status, 200, "{question}: {}", answer.body);
        assert!(
            !answer.body.contains("marker-8") && !answer.body.contains("\"8\""),
            "{question}: {}",
            answer.body
        );
    }
    assert!(ask(&site, Visitor::Admin, "timeline").body.contains("marker-8"));
}
