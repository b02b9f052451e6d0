//! That a page and the API answer a question alike.

use serde_json::Value;

use super::{each, told};
use crate::site::{Site, Visitor};

/// The transactions of the changes in a page, each as often as it stands in its list.
fn of_page(body: &str) -> Vec<String> {
    let mut ids: Vec<String> = body
        .split("href=\"")
        .filter_map(|rest| rest.split('"').next()?.split("transactions/").nth(1))
        .map(|id| id[..36].to_owned())
        .collect();
    ids.dedup();
    ids
}

fn of_api(list: &Value) -> Vec<String> {
    let mut ids: Vec<String> =
        each(list, "/change/transaction_id").into_iter().map(|id| id.trim_matches('"').to_owned()).collect();
    ids.dedup();
    ids
}

#[test]
fn a_page_and_the_api_answer_the_same_filter_alike() {
    let site = Site::new();
    for round in 0..5 {
        let tenant = 7 + round % 2;
        site.write(
            &format!("user:{tenant}"),
            &format!("UPDATE notes SET title = 'in {round}' WHERE id = {tenant}"),
        );
    }
    site.write("user:7", "DELETE FROM notes WHERE id = 7");
    for visitor in [Visitor::Admin, Visitor::Support] {
        for filter in [
            "window=all",
            "window=24h",
            "window=24h&table=notes",
            "window=1h&actor=user:7",
            "window=all&op=update&op=delete",
            "window=all&column=title",
            "window=all&table=notes&key=id%3D8",
            "window=all&from=2020-01-01&to=2021-01-01",
            "window=7d&actor=user:7&op=insert",
        ] {
            let page = site.get(visitor, &format!("timeline?{filter}"));
            assert_eq!(page.status, 200, "{filter}");
            let list = told(&site, visitor, &format!("timeline?{filter}"));
            assert_eq!(of_page(&page.body), of_api(&list), "{visitor:?} {filter}");
            let counted = told(&site, visitor, &format!("timeline/count?{filter}"));
            assert_eq!(counted["counted"], list["entries"].as_array().unwrap().len(), "{visitor:?} {filter}");
            let change = if counted["counted"] == 1 { "change" } else { "changes" };
            let sentence = format!("{} {change} ", counted["counted"]);
            assert!(page.body.contains(&sentence), "{visitor:?} {filter}: {sentence}");
        }
        let page = site.get(visitor, "actors?actor=user:7&window=all").body;
        let list = told(&site, visitor, "actors/changes?actor=user:7");
        assert_eq!(of_page(&page), of_api(&list), "{visitor:?}");
    }
}
