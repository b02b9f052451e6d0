//! The pages in a real browser: nothing on its console, nothing axe objects to, nothing that does not fit; by keyboard alone,
//! and without a script.
//!
//! `setup_browser=yes scripts/setup` installs Chromium and axe-core; `THREADLINE_SKIP_BROWSER=1` leaves these tests out.

mod chromium;
mod keyboard;
mod scriptless;
mod served;
mod states;

use serde_json::json;

use self::chromium::{Tab, in_a_tab};
use self::served::Served;

/// What is wrong with the page that is open, as far as a machine can tell; `width` is that of the screen.
async fn faults(tab: &Tab<'_>, width: u32) -> Vec<String> {
    let mut faults = tab.console().await;
    let forbidden = tab.run("return window.forbidden", Vec::new()).await;
    faults.extend(forbidden.as_array().into_iter().flatten().map(|what| format!("forbidden: {what}")));
    faults.extend(overflow(tab, width).await);
    faults.extend(tab.axe().await);
    faults
}

async fn overflow(tab: &Tab<'_>, width: u32) -> Vec<String> {
    let found = tab.run(OVERFLOW, vec![json!(width)]).await;
    found.as_array().into_iter().flatten().map(|what| format!("too wide: {what}")).collect()
}

/// What sticks out to the right, where the page as a whole can be scrolled there.
const OVERFLOW: &str = "const width = arguments[0];
if (document.documentElement.scrollWidth <= width) return [];
const scrolls = (element) => element && (['auto', 'scroll', 'hidden', 'clip'].includes(getComputedStyle(element).overflowX) || scrolls(element.parentElement));
const out = [...document.body.querySelectorAll('*')].filter((element) => element.getBoundingClientRect().right > width + 1 && !scrolls(element.parentElement));
return [`the page is ${document.documentElement.scrollWidth} wide`, ...out.slice(0, 5).map((element) => `${element.tagName} ${element.className} ${element.textContent.trim().slice(0, 40)}`)];";

#[test]
fn a_page_that_is_wrong_in_every_way_is_found_to_be() {
    let served = &Served::start();
    in_a_tab(async |tab| {
        tab.screen(375, 800, false).await;
        tab.client.goto(&served.url("broken")).await.unwrap();
        let faults = faults(tab, 375).await.join("\n");
        for fault in ["script-src", "forbidden: \"script-src-elem", "too wide: \"the page is 30", "image-alt"]
        {
            assert!(faults.contains(fault), "{fault}: {faults}");
        }
    });
}
