//! An incident, from the first question to the answer, without a mouse.

use std::time::Duration;

use fantoccini::key::Key;
use serde_json::Value;
use tokio::time::sleep;

use super::chromium::{Tab, in_a_tab};
use super::served::Served;

async fn press(tab: &Tab<'_>, keys: &str) {
    tab.client.active_element().await.unwrap().send_keys(keys).await.unwrap();
}

async fn key(tab: &Tab<'_>, key: Key) {
    press(tab, &char::from(key).to_string()).await;
}

/// Where one is, below the mount.
async fn place(tab: &Tab<'_>) -> String {
    let url = tab.client.current_url().await.unwrap();
    let query = url.query().map(|query| format!("?{query}")).unwrap_or_default();
    format!("{}{query}", url.path().trim_start_matches("/admin/"))
}

/// Waits until one is there, and the script is: the browser leaves a moment after the key.
async fn arrives(tab: &Tab<'_>, path: &str) {
    for _ in 0..200 {
        let is_ready = tab.run("return document.readyState", Vec::new()).await == "complete";
        if is_ready && place(tab).await == path {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("not at {path}, but at {}", place(tab).await);
}

async fn focused(tab: &Tab<'_>, script: &str) -> Value {
    tab.run(&format!("const at = document.activeElement; {script}"), Vec::new()).await
}

#[test]
fn an_incident_is_followed_by_keyboard_alone() {
    let served = &Served::start();
    in_a_tab(async |tab| {
        tab.screen(1280, 900, false).await;
        tab.client.goto(&served.url("admin/")).await.unwrap();
        // Past the frame at once.
        key(tab, Key::Tab).await;
        assert_eq!(focused(tab, "return at.textContent").await, "Skip to content");
        key(tab, Key::Enter).await;
        assert_eq!(focused(tab, "return at.id").await, "content");
        // What somebody reported, pasted.
        press(tab, "/").await;
        assert_eq!(focused(tab, "return at.name").await, "find");
        press(tab, "posts:1").await;
        key(tab, Key::Enter).await;
        arrives(tab, "rows?table=posts&key=1").await;
        // Its versions, newest first; the second is the one nobody answers for, the third the edit.
        press(tab, "j").await;
        press(tab, "j").await;
        press(tab, "j").await;
        press(tab, "k").await;
        press(tab, "j").await;
        let version = "return [...document.querySelectorAll('.versions .when')].indexOf(at)";
        assert_eq!(focused(tab, version).await, 2);
        // On to what leads to its transaction, and to what else belonged to that.
        let mut steps = 0;
        while focused(tab, "return at.textContent").await != "transaction" {
            key(tab, Key::Tab).await;
            steps += 1;
            assert!(steps < 6, "the transaction is not near its version");
        }
        key(tab, Key::Enter).await;
        arrives(tab, &format!("transactions/{}", served.transaction)).await;
        let text = tab.run("return document.body.textContent", Vec::new()).await;
        assert!(text.as_str().is_some_and(|text| text.contains("asked for by its author")));
    });
}

#[test]
fn the_timeline_is_gone_through_and_opened_with_keys() {
    let served = &Served::start();
    in_a_tab(async |tab| {
        tab.screen(1280, 900, true).await;
        tab.client.goto(&served.url("admin/timeline")).await.unwrap();
        press(tab, "jjjk").await;
        let second = "return [...document.querySelectorAll('.thread .when')].indexOf(at)";
        assert_eq!(focused(tab, second).await, 1);
        let href = focused(tab, "return at.getAttribute('href').replace('./', '')").await;
        key(tab, Key::Enter).await;
        arrives(tab, href.as_str().unwrap()).await;
        // Keys that are typed into a field are text.
        tab.client.goto(&served.url("admin/timeline")).await.unwrap();
        press(tab, "/").await;
        press(tab, "jk/").await;
        assert!(focused(tab, "return at.value").await.as_str().is_some_and(|value| value.ends_with("jk/")));
    });
}

#[test]
fn whatever_has_the_focus_is_in_sight_and_marked() {
    let served = &Served::start();
    in_a_tab(async |tab| {
        for (width, page) in
            [(1280, "timeline"), (375, "timeline"), (375, "rows?table=posts&key=1"), (375, "retention")]
        {
            tab.screen(width, 900, false).await;
            tab.client.goto(&served.url(&format!("admin/{page}"))).await.unwrap();
            for step in 0..40 {
                key(tab, Key::Tab).await;
                let fault = focused(
                    tab,
                    "if (at === document.body) return null; const box = at.getBoundingClientRect(), style = getComputedStyle(at); \
                     const said = `${at.tagName} ${at.className} ${at.textContent.trim().slice(0, 30)}`; \
                     if (box.width < 1 || box.height < 1 || box.bottom <= 0 || box.top >= innerHeight || box.right <= 0 || box.left >= innerWidth) return `out of sight: ${said}`; \
                     if (!at.matches('.skip, [type=datetime-local]') && (style.outlineStyle === 'none' || parseFloat(style.outlineWidth) < 2)) return `not marked: ${said}`; \
                     return null",
                )
                .await;
                assert_eq!(fault, Value::Null, "{page} at {width}, step {step}");
            }
        }
    });
}
