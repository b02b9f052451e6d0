//! Every screen in every state, in the dark and in the light, on a telephone, a tablet and a desk.

use serde_json::json;

use super::chromium::in_a_tab;
use super::served::Served;
use super::{faults, overflow};

const WIDTHS: [u32; 3] = [375, 768, 1280];

/// A name, the page, and what it answers if not 200.
fn states(served: &Served) -> Vec<(&'static str, String, u16)> {
    let transaction = format!("admin/transactions/{}", served.transaction);
    let undo = format!("admin/undo?transaction={}", served.transaction);
    let mut states = vec![("transaction", transaction, 200), ("undo", undo, 200)];
    states.extend(
        [
            ("home", "admin/", 200),
            ("views", "admin/views", 200),
            ("views-empty", "support/views", 200),
            ("home-problem", "admin/?find=two%20words", 200),
            ("home-scoped", "support/", 200),
            ("home-empty", "empty/", 200),
            ("timeline", "admin/timeline", 200),
            ("timeline-filtered", "admin/timeline?window=30d&table=posts&op=update&actor=user%3A7", 200),
            (
                "timeline-several",
                "admin/timeline?window=7d&actor=user%3A7&actor=user%3A8&op=insert&op=update&category=a&category=b",
                200,
            ),
            ("timeline-nothing", "admin/timeline?table=posts&actor=user%3A404", 200),
            ("timeline-invalid", "admin/timeline?actor=robot&from=yesterday&colour=red", 400),
            ("timeline-scoped", "support/timeline", 200),
            ("timeline-empty", "empty/timeline", 200),
            ("transaction-gone", "admin/transactions/01a1ffab-f039-72a0-a2c0-000000000001", 404),
            ("row", "admin/rows?table=posts&key=1", 200),
            ("row-long", "admin/rows?table=posts&key=3", 200),
            ("row-word", "admin/rows?table=posts&key=5", 200),
            ("row-hostile", "admin/rows?table=posts&key=7", 200),
            ("row-deleted", "admin/rows?table=posts&key=39", 200),
            ("undo-in-the-way", "admin/undo?correlation=ticket-4711", 200),
            ("row-before", "admin/rows?table=posts&key=1&at=2001-01-01", 200),
            ("row-ahead", "admin/rows?table=posts&key=1&at=2999-01-01", 200),
            ("row-wrong-time", "admin/rows?table=posts&key=1&at=tomorrow", 400),
            ("row-between", "admin/rows?table=posts&key=1&from=2001-01-01", 200),
            ("row-key-of-two", "admin/rows?table=members&key=tenant%3D7&key=person%3Dsomebody%20else", 200),
            ("row-nothing", "admin/rows?table=posts&key=404", 200),
            ("row-lookup", "admin/rows", 200),
            ("row-invalid", "admin/rows?table=settings&key=1", 400),
            ("actor", "admin/actors?actor=user%3A7&window=all", 200),
            ("actor-nothing", "admin/actors?actor=user%3A404", 200),
            ("actor-nobody", "admin/actors?actor=nobody&window=all", 200),
            ("actor-lookup", "admin/actors", 200),
            ("actor-invalid", "admin/actors?actor=robot", 400),
            ("correlation", "admin/correlations?id=ticket-4711", 200),
            ("correlation-nothing", "admin/correlations?id=ticket-0", 200),
            ("correlation-lookup", "admin/correlations", 200),
            ("actions", "admin/actions", 200),
            ("actions-failed", "admin/actions?status=error&window=all", 200),
            ("actions-empty", "empty/actions", 200),
            ("coverage", "admin/coverage", 200),
            ("coverage-empty", "empty/coverage", 200),
            ("coverage-denied", "support/coverage", 403),
            ("redaction", "admin/redaction", 200),
            ("redaction-empty", "empty/redaction", 200),
            ("retention", "admin/retention", 200),
            ("retention-outcome", "admin/retention?since=0", 200),
            ("gaps", "admin/gaps", 200),
            ("gaps-deeper", "admin/gaps?deeper=yes", 200),
            ("gaps-empty", "empty/gaps", 200),
            ("gaps-denied", "support/gaps", 403),
            ("exports", "admin/exports", 200),
            ("exports-new", "admin/exports?table=posts&window=all", 200),
            ("exports-scoped", "support/exports", 200),
            ("exports-empty", "empty/exports", 200),
            ("access-log", "admin/access-log", 200),
            ("access-log-of", "admin/access-log?looked_at=posts", 200),
            ("access-log-of-nothing", "admin/access-log?looked_at=posts%20404%20nowhere", 200),
            ("access-log-denied", "support/access-log", 403),
            ("refused", "nobody/timeline", 403),
            ("not-there", "admin/nowhere", 404),
            ("evidence", "admin/evidence", 200),
            ("evidence-empty", "empty/evidence", 200),
        ]
        .map(|(name, path, status)| (name, path.to_owned(), status)),
    );
    states
}

/// One load is enough for all screens: what fits them is the style sheet's, and follows at once.
#[test]
fn every_screen_in_every_state_is_sound() {
    let served = &Served::start();
    in_a_tab(async |tab| {
        let mut wrong = Vec::new();
        for (name, path, status) in states(served) {
            tab.client.goto(&served.url(&path)).await.unwrap();
            let answered = "return performance.getEntriesByType('navigation')[0].responseStatus";
            let answered = tab.run(answered, Vec::new()).await;
            if answered != status {
                wrong.push(format!("{name}: answers {answered}"));
            }
            let of_status = format!("the server responded with a status of {status}");
            // What fits the narrowest screen, or one at 400 %, fits at every width up to the next one.
            tab.screen(320, 900, false).await;
            wrong.extend(overflow(tab, 320).await.into_iter().map(|fault| format!("{name}, 320: {fault}")));
            for width in WIDTHS {
                for (theme, is_dark) in [("light", false), ("dark", true)] {
                    tab.screen(width, 900, is_dark).await;
                    tab.run(FOLD, Vec::new()).await;
                    let mut found = overflow(tab, width).await;
                    let height = tab.run("return document.documentElement.scrollHeight", Vec::new()).await;
                    let height = height.as_u64().unwrap_or(900).clamp(900, 3000);
                    tab.screen(width, u32::try_from(height).unwrap_or(900), is_dark).await;
                    tab.picture(&format!("{name}-{width}-{theme}")).await;
                    // What is folded away is a part of the page, too.
                    tab.run(UNFOLD, vec![json!(name == "home-problem")]).await;
                    found.extend(faults(tab, width).await);
                    found.retain(|fault| status == 200 || !fault.contains(&of_status));
                    wrong.extend(found.into_iter().map(|fault| format!("{name}, {width}, {theme}: {fault}")));
                }
            }
        }
        assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
    });
}

/// Opens all that is folded. The preferences lie over the page, and hide from axe what is below them: on one page only.
const UNFOLD: &str = "for (const part of document.querySelectorAll(arguments[0] ? 'details:not([open])' : 'details:not([open], .preferences)')) \
    part.setAttribute('open', part.dataset.test = '')";

/// As the page came.
const FOLD: &str = "for (const part of document.querySelectorAll('details[data-test]')) { part.removeAttribute('open'); delete part.dataset.test; }";
