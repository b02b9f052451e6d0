//! Lists in pages, and values to the digit.

use serde_json::Value;

use super::{ask, told};
use crate::site::{Site, Visitor};

#[test]
fn pages_put_together_are_the_whole_in_both_orders() {
    let site = Site::new();
    for round in 0..11 {
        site.write_as_part_of(
            "user:7",
            "import-7",
            &format!("UPDATE notes SET title = 'in {round}' WHERE id = 7"),
        );
    }
    site.record_a_bit_of_everything();
    for list in [
        "timeline?table=notes",
        "actors/changes?actor=user:7",
        "actors/transactions?actor=user:7",
        "correlations?id=import-7",
        "actions?window=all",
        "evidence?mode=history",
    ] {
        for order in ["newest_first", "oldest_first"] {
            let list = format!("{list}&order={order}");
            let whole = told(&site, Visitor::Admin, &format!("{list}&limit=1000"));
            let whole = whole["entries"].as_array().unwrap();
            assert!(whole.len() > 2, "{list} has {} entries", whole.len());
            let mut together: Vec<Value> = Vec::new();
            let mut after = String::new();
            loop {
                let page = told(&site, Visitor::Admin, &format!("{list}&limit=2{after}"));
                together.extend(page["entries"].as_array().unwrap().iter().cloned());
                assert_eq!(page["has_more"].as_bool(), Some(page["cursor"].is_string()), "{list}");
                let Some(cursor) = page["cursor"].as_str() else { break };
                after = format!("&after={cursor}");
            }
            assert_eq!(&together, whole, "{list}");
        }
        // The order is the cursor's where none is named.
        let first = told(&site, Visitor::Admin, &format!("{list}&limit=1&order=oldest_first"));
        let cursor = first["cursor"].as_str().unwrap().to_owned();
        told(&site, Visitor::Admin, &format!("{list}&after={cursor}"));
    }
}

#[test]
fn numbers_keep_every_digit_and_ids_are_texts() {
    let site = Site::new();
    let (whole, exact) = ("9007199254740993123456789", "0.10000000000000000000000012340");
    site.write(
        "user:7",
        &format!("UPDATE notes SET data = '{{\"n\": {whole}, \"m\": {exact}}}' WHERE id = 7"),
    );
    site.write("user:7", "INSERT INTO notes (id, tenant) VALUES (9223372036854775807, 7)");
    let id =
        told(&site, Visitor::Admin, "timeline?op=update")["entries"][0]["change"]["transaction_id"].clone();
    for question in [
        "timeline".to_owned(),
        format!("transactions/{}", id.as_str().expect("a text")),
        "rows/history?table=notes&key=7".to_owned(),
        "rows/as-of?table=notes&key=7&at=2099-01-01".to_owned(),
        "rows/diff?table=notes&key=7&from=2001-01-01".to_owned(),
    ] {
        let body = ask(&site, Visitor::Admin, &question).body;
        let written = body.split_whitespace().collect::<String>();
        assert!(written.contains(&format!("\"n\":{whole}")), "{question}: {body}");
        assert!(written.contains(&format!("\"m\":{exact}")), "{question}: {body}");
    }
    let newest = told(&site, Visitor::Admin, "timeline?limit=1");
    assert_eq!(newest["entries"][0]["key"]["id"], "9223372036854775807");
    assert_eq!(newest["entries"][0]["change"]["row_key"], "9223372036854775807");
}

#[test]
fn what_retention_has_removed_is_said_beside_what_is_there() {
    let site = Site::new();
    for list in ["timeline", "timeline/count", "actors/changes?actor=user:7"] {
        assert_eq!(told(&site, Visitor::Admin, list)["removed"], serde_json::json!([]), "{list}");
    }
    for list in ["actions", "actors/transactions?actor=user:7"] {
        assert_eq!(told(&site, Visitor::Admin, list)["removed"], Value::Null, "{list}");
    }
}
