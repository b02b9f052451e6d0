//! Without a script: everything is answered all the same.

use fantoccini::Locator;
use serde_json::json;

use super::chromium::in_a_tab;
use super::served::Served;

#[test]
fn without_scripts_the_pages_answer_and_filter() {
    let served = &Served::start();
    in_a_tab(async |tab| {
        let client = tab.client;
        tab.devtools("Emulation.setScriptExecutionDisabled", json!({ "value": true })).await;
        tab.screen(375, 900, false).await;

        client.goto(&served.url(&format!("admin/transactions/{}", served.transaction))).await.unwrap();
        // The script would have shown it.
        let copy = client.find(Locator::Css("button[data-copy]")).await.unwrap();
        assert!(!copy.is_displayed().await.unwrap(), "a script has run");

        client.find(Locator::Css("details.narrow summary")).await.unwrap().click().await.unwrap();
        let timeline = Locator::XPath("//details[contains(@class, 'narrow')]//a[text() = 'Timeline']");
        client.find(timeline).await.unwrap().click().await.unwrap();
        client.find(Locator::Css("input[name=table]")).await.unwrap().send_keys("members").await.unwrap();
        client.find(Locator::Css(".filter .primary")).await.unwrap().click().await.unwrap();
        // A form is sent a moment after the click.
        client.wait().for_element(Locator::Css("input[name=table][value=members]")).await.unwrap();
        let url = client.current_url().await.unwrap();
        assert!(url.query().is_some_and(|query| query.contains("table=members")), "{url}");
        // What is many of one transaction is folded, and opens.
        let folded = client.find_all(Locator::Css(".more-changes summary")).await.unwrap();
        assert!(!folded.is_empty(), "a bulk is folded");
        for fold in folded {
            fold.click().await.unwrap();
        }
        let rows = client.find_all(Locator::Css(".change .row")).await.unwrap();
        assert!(rows.len() > 10, "{} changes", rows.len());
        for row in rows {
            let row = row.text().await.unwrap();
            assert!(row.contains("members"), "{row}");
        }

        // A version is chosen of a list where there is no slider.
        client.goto(&served.url("admin/rows?table=posts&key=1")).await.unwrap();
        assert!(client.find(Locator::Css(".travel input[type=range]")).await.is_err(), "a script has run");
        client.find(Locator::Css(".travel select")).await.unwrap().select_by_index(0).await.unwrap();
        client.find(Locator::Css(".travel button")).await.unwrap().click().await.unwrap();
        client.wait().for_element(Locator::Css(".versions > li:last-child.chosen")).await.unwrap();

        // A value that is too long to be shown at once.
        client.goto(&served.url("admin/rows?table=posts&key=3")).await.unwrap();
        let more = client
            .find(Locator::Css(".snapshot details.rest summary, .versions details.rest summary"))
            .await
            .unwrap();
        more.click().await.unwrap();

        client.find(Locator::Css("details.preferences summary")).await.unwrap().click().await.unwrap();
        client.find(Locator::Css("select[name=theme]")).await.unwrap().select_by_value("dark").await.unwrap();
        client.find(Locator::Css("details.preferences button")).await.unwrap().click().await.unwrap();
        client.wait().for_element(Locator::Css("html[data-theme=dark]")).await.unwrap();
        assert!(client.current_url().await.unwrap().as_str().contains("rows?table=posts"));
    });
}
