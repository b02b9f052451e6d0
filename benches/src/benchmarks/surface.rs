//! `surface`: how long the server takes for each page an operator opens, what it weighs, and how many pages sixteen operators
//! get while the application goes on writing.
//!
//! To measure one more page, add a line to [`PAGES`].

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use actix_web::{App, rt, test};
use anyhow::{Context, ensure};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::r2d2::{ConnectionManager, Pool};
use flate2::Compression;
use flate2::write::GzEncoder;
use threadline::AuditedPool;
use threadline_actix::surface::{SurfaceConfig, surface};

use crate::figures::Figure;
use crate::loaded_trail::{LoadedTrail, Pick};
use crate::machine::Machine;
use crate::rounds::{Samples, rotation};
use crate::table::Table;
use crate::{Effort, Outcome};

/// What a page is to take at most, and to weigh compressed with all it loads at the first visit.
const GOAL_MS: f64 = 20.0;
const GOAL_KB: f64 = 100.0;

/// Operators at once.
const OPERATORS: usize = 16;

/// A page, opened again and again about something else.
struct Page {
    name: &'static str,
    /// The function of `trail_picks.sql` that says what to ask about.
    picks: &'static str,
    path: fn(&Pick) -> String,
}

const PAGES: &[Page] = &[
    Page { name: "home", picks: "pick_instants_alone", path: |_| String::new() },
    Page { name: "timeline", picks: "pick_instants_alone", path: |_| "timeline?window=30d".to_owned() },
    Page {
        name: "timeline_by_table",
        picks: "pick_tables",
        path: |pick| format!("timeline?window=30d&table={}", pick.subject),
    },
    Page {
        name: "timeline_by_actor",
        picks: "pick_actors",
        path: |pick| format!("timeline?window=all&actor={}", pick.subject),
    },
    Page {
        name: "transaction",
        picks: "pick_incidents",
        path: |pick| format!("transactions/{}", pick.subject),
    },
    Page {
        name: "row",
        picks: "pick_busy_posts",
        path: |pick| format!("rows?table=posts&key={}", pick.subject),
    },
    Page {
        name: "row_at",
        picks: "pick_post_changes",
        path: |pick| {
            format!("rows?table=posts&key={}&at={}", pick.subject, pick.at.format("%Y-%m-%dT%H:%M:%SZ"))
        },
    },
    Page { name: "actor", picks: "pick_actors", path: |pick| format!("actors?actor={}", pick.subject) },
    Page {
        name: "correlation",
        picks: "pick_correlations",
        path: |pick| format!("correlations?id={}", pick.subject),
    },
    Page { name: "actions", picks: "pick_instants_alone", path: |_| "actions".to_owned() },
    Page { name: "coverage", picks: "pick_instants_alone", path: |_| "coverage".to_owned() },
    Page { name: "redaction", picks: "pick_instants_alone", path: |_| "redaction".to_owned() },
    Page { name: "retention", picks: "pick_instants_alone", path: |_| "retention".to_owned() },
    Page { name: "evidence", picks: "pick_instants_alone", path: |_| "evidence".to_owned() },
];

/// How much to measure.
struct Sizes {
    changes: i64,
    rounds: usize,
    /// How often a page is opened in a round.
    samples: usize,
    /// How long the operators go on.
    together: Duration,
}

impl Sizes {
    fn of(effort: Effort) -> Self {
        match effort {
            Effort::Full => {
                Self { changes: 10_000_000, rounds: 3, samples: 60, together: Duration::from_secs(15) }
            }
            Effort::Quick => {
                Self { changes: 300_000, rounds: 2, samples: 30, together: Duration::from_secs(5) }
            }
            Effort::Smoke => {
                Self { changes: 3_000, rounds: 1, samples: 2, together: Duration::from_millis(500) }
            }
        }
    }
}

/// Opened before the first timed page of a round.
const WARM_UP: usize = 3;

/// What one page showed.
#[derive(Clone, Default)]
struct Measured {
    p50: Samples,
    p99: Samples,
    /// Kilobytes of the heaviest answer, compressed.
    kb: f64,
}

/// What sixteen operators got.
struct Together {
    pages_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
    writes_per_s: f64,
}

/// Measures the pages.
///
/// # Errors
///
/// When a page is not shown, or the server refuses a statement; panics as [`LoadedTrail::new`] does.
pub(crate) fn run(effort: Effort) -> anyhow::Result<Outcome> {
    let sizes = Sizes::of(effort);
    let mut trail = LoadedTrail::new(sizes.changes)?;
    let machine = Machine::of(&mut trail.conn)?;
    let picks: Vec<Vec<Pick>> = PAGES
        .iter()
        .map(|page| trail.picks(page.picks, sizes.samples * sizes.rounds))
        .collect::<Result<_, _>>()?;
    let pages = rt::System::new().block_on(alone(&trail, &picks, &sizes))?;
    let together = together(&trail, &picks, sizes.together)?;
    Ok(Outcome { machine, figures: figures(&pages, &together), tables: tables(&trail, &pages, &together) })
}

fn config(trail: &LoadedTrail, connections: u32) -> anyhow::Result<SurfaceConfig> {
    let pool =
        Pool::builder().max_size(connections).build(ConnectionManager::<PgConnection>::new(trail.url()))?;
    Ok(SurfaceConfig::new(AuditedPool::new(pool))
        .allow_unauthenticated_i_understand()
        .authorize_coverage(async |_| Ok(true))
        .authorize_policy(async |_| Ok(true))
        .authorize_retention(async |_| Ok(true))
        .authorize_evidence(async |_| Ok(true)))
}

/// Each page by itself: from the request to the last byte of the answer, the access log included.
async fn alone(trail: &LoadedTrail, picks: &[Vec<Pick>], sizes: &Sizes) -> anyhow::Result<Vec<Measured>> {
    let app = test::init_service(App::new().service(surface(config(trail, 2)?).mount("/audit"))).await;
    let mut pages = vec![Measured::default(); PAGES.len()];
    for round in 0..sizes.rounds {
        eprintln!("surface: round {} of {}", round + 1, sizes.rounds);
        for place in rotation(PAGES.len(), round) {
            let (page, picks) = (&PAGES[place], &picks[place]);
            let mut times = Samples::default();
            for turn in 0..WARM_UP + sizes.samples {
                let path = (page.path)(&picks[(round * sizes.samples + turn) % picks.len()]);
                let request = test::TestRequest::get().uri(&format!("/audit/{path}")).to_request();
                let started = Instant::now();
                let response = test::call_service(&app, request).await;
                let status = response.status();
                let body = test::read_body(response).await;
                let took = started.elapsed();
                ensure!(status.is_success(), "{} at `{path}`: {status}", page.name);
                if turn >= WARM_UP {
                    times.push(took.as_secs_f64() * 1e3);
                    pages[place].kb = pages[place].kb.max(compressed_kb(&body)?);
                }
            }
            pages[place].p50.push(times.quantile(0.5));
            pages[place].p99.push(times.quantile(0.99));
        }
    }
    // What the first visit loads beside the page.
    let home = test::TestRequest::get().uri("/audit/").to_request();
    let home = test::read_body(test::call_service(&app, home).await).await;
    let mut assets = 0.0;
    for asset in assets_of(&String::from_utf8_lossy(&home)) {
        let request = test::TestRequest::get().uri(&format!("/audit/{asset}")).to_request();
        let response = test::call_service(&app, request).await;
        ensure!(response.status().is_success(), "{asset}: {}", response.status());
        let body = test::read_body(response).await;
        assets += if asset.ends_with(".woff2") { kb(body.len()) } else { compressed_kb(&body)? };
        if asset.contains("fonts") {
            for font in fonts_of(&String::from_utf8_lossy(&body)) {
                let request = test::TestRequest::get().uri(&format!("/audit/assets/{font}")).to_request();
                assets += kb(test::read_body(test::call_service(&app, request).await).await.len());
            }
        }
    }
    for page in &mut pages {
        page.kb += assets;
    }
    Ok(pages)
}

/// The files a page names, each once; fonts are named by the style sheet of fonts.
fn assets_of(html: &str) -> Vec<String> {
    let named = html.split('"').filter_map(|part| part.strip_prefix("./"));
    let mut assets: Vec<String> = named
        .filter(|part| part.starts_with("assets/") && !part.ends_with(".woff2"))
        .map(str::to_owned)
        .collect();
    assets.sort();
    assets.dedup();
    assets
}

fn fonts_of(css: &str) -> Vec<String> {
    let named = css.split(['(', ')', '"', '\'']).filter(|part| part.ends_with(".woff2"));
    named.map(|part| part.trim_start_matches("./").to_owned()).collect()
}

fn compressed_kb(body: &[u8]) -> anyhow::Result<f64> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(body)?;
    Ok(kb(encoder.finish()?.len()))
}

#[expect(clippy::cast_precision_loss, reason = "sizes of pages are far below 2^53")]
fn kb(bytes: usize) -> f64 {
    bytes as f64 / 1000.0
}

/// Sixteen operators turning the timeline's pages, while the application writes as fast as it can.
fn together(trail: &LoadedTrail, picks: &[Vec<Pick>], during: Duration) -> anyhow::Result<Together> {
    let config = config(trail, u32::try_from(OPERATORS)?)?;
    let is_over = Arc::new(AtomicBool::new(false));
    let writes = Arc::new(AtomicU64::new(0));
    let place = PAGES.iter().position(|page| page.name == "timeline_by_table").context("no such page")?;
    let asked: Vec<String> = picks[place].iter().map(PAGES[place].path).collect();
    let times = thread::scope(|scope| {
        let writer = scope.spawn({
            let (is_over, writes, url) = (Arc::clone(&is_over), Arc::clone(&writes), trail.url());
            move || -> anyhow::Result<()> {
                let mut conn = PgConnection::establish(&url)?;
                while !is_over.load(Ordering::Relaxed) {
                    conn.batch_execute("UPDATE posts SET title = md5(random()::text) WHERE id = 1")?;
                    writes.fetch_add(1, Ordering::Relaxed);
                }
                Ok(())
            }
        });
        let operators: Vec<_> = (0..OPERATORS)
            .map(|operator| {
                let (config, asked) = (config.clone(), &asked);
                scope.spawn(move || -> anyhow::Result<Vec<f64>> {
                    rt::System::new().block_on(async {
                        let app =
                            test::init_service(App::new().service(surface(config).mount("/audit"))).await;
                        let (mut times, started) = (Vec::new(), Instant::now());
                        while started.elapsed() < during {
                            let path = &asked[(operator + times.len()) % asked.len()];
                            let request =
                                test::TestRequest::get().uri(&format!("/audit/{path}")).to_request();
                            let began = Instant::now();
                            let response = test::call_service(&app, request).await;
                            ensure!(response.status().is_success(), "`{path}`: {}", response.status());
                            test::read_body(response).await;
                            times.push(began.elapsed().as_secs_f64() * 1e3);
                        }
                        Ok(times)
                    })
                })
            })
            .collect();
        let times: anyhow::Result<Vec<Vec<f64>>> =
            operators.into_iter().map(|operator| operator.join().expect("an operator goes on")).collect();
        is_over.store(true, Ordering::Relaxed);
        writer.join().expect("the application goes on")?;
        times
    })?;
    let mut samples = Samples::default();
    let mut pages = 0;
    for time in times.into_iter().flatten() {
        samples.push(time);
        pages += 1;
    }
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
    let per_s = |count: u64| count as f64 / during.as_secs_f64();
    Ok(Together {
        pages_per_s: per_s(pages),
        p50_ms: samples.median(),
        p99_ms: samples.quantile(0.99),
        writes_per_s: per_s(writes.load(Ordering::Relaxed)),
    })
}

fn figures(pages: &[Measured], together: &Together) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (page, measured) in PAGES.iter().zip(pages) {
        let name = |quantity: &str| format!("surface.{}.{quantity}", page.name);
        figures.push(Figure::new(name("p50_ms"), measured.p50.min(), 2, "ms", Some(GOAL_MS)));
        figures.push(Figure::new(name("p99_ms"), measured.p99.min(), 2, "ms", None));
        figures.push(Figure::new(name("first_visit_kb"), measured.kb, 1, "kB", Some(GOAL_KB)));
    }
    let name = |quantity: &str| format!("surface.together.{quantity}");
    figures.push(Figure::new(name("pages_per_s"), together.pages_per_s, 0, "pages/s", None).more_is_better());
    figures.push(Figure::new(name("p99_ms"), together.p99_ms, 1, "ms", None));
    figures
}

fn tables(trail: &LoadedTrail, pages: &[Measured], together: &Together) -> String {
    let mut table = Table::new(&["page", "p50 ms", "p99 ms", "first visit kB"]);
    for (page, measured) in PAGES.iter().zip(pages) {
        table.push(vec![
            page.name.to_owned(),
            format!("{:.2}", measured.p50.min()),
            format!("{:.2}", measured.p99.min()),
            format!("{:.1}", measured.kb),
        ]);
    }
    format!(
        "A trail of {} changes, {} MiB. From the request to the last byte, the access log included;\n\
        goal {GOAL_MS} ms. A first visit weighs the page with style sheet, script and fonts, compressed; goal {GOAL_KB} kB.\n\n{}\n\n\
        {OPERATORS} operators at the timeline while the application writes {:.0} changes/s: {:.0} pages/s, p50 {:.1} ms, p99 {:.1} ms",
        trail.changes,
        trail.mib,
        table.render(),
        together.writes_per_s,
        together.pages_per_s,
        together.p50_ms,
        together.p99_ms,
    )
}
