//! Whether capture is well, for the header of every page: asked seldom, and never by a page that can do without.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use actix_web::{rt, web};
use chrono::{DateTime, Utc};
use threadline::AuditedPool;
use threadline::config::Tables;
use threadline::health::{self, Finding, HealthOptions, Severity};

/// For so long an answer is good.
const FRESH: Duration = Duration::from_secs(15);

/// For so long it is shown while the next one is on its way; after that a page waits for the next one.
const USABLE: Duration = Duration::from_secs(120);

/// How long a page waits.
const PATIENCE: Duration = Duration::from_millis(1_500);

/// The health of capture as it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Health {
    pub(super) errors: usize,
    pub(super) warnings: usize,
    pub(super) infos: usize,
    pub(super) seen_at: DateTime<Utc>,
    /// Whether it could not be looked at since.
    pub(super) stale: bool,
}

impl Health {
    /// The class of the worst there is, and how much of it there is, in words.
    pub(super) fn verdict(&self) -> (&'static str, String) {
        match (self.errors, self.warnings) {
            (0, 0) => ("good", "Healthy".to_owned()),
            (0, warnings) => ("warning", counted(warnings, "warning")),
            (errors, _) => ("bad", counted(errors, "error")),
        }
    }

    /// How much of each severity there is, in words.
    pub(super) fn counts(&self) -> String {
        let counts = [(self.errors, "error"), (self.warnings, "warning"), (self.infos, "remark")];
        counts.map(|(number, one)| counted(number, one)).join(", ")
    }
}

pub(super) fn counted(number: usize, one: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {one}s") }
}

/// What the workers of a process share of it.
#[derive(Clone, Default)]
pub(super) struct Pulse(Arc<Shared>);

#[derive(Default)]
struct Shared {
    last: Mutex<Option<Seen>>,
    is_asked: AtomicBool,
}

#[derive(Clone)]
struct Seen {
    health: Option<Health>,
    /// All of it; of the last answer there was.
    findings: Arc<[Finding]>,
    /// When it was asked last, whether or not there was an answer.
    asked: Instant,
}

impl Pulse {
    /// The health as it is known, and, where that is long ago, as it is. `None` when it has never been told.
    pub(super) async fn feel(&self, pool: &AuditedPool, limit: Duration, tables: &Tables) -> Option<Health> {
        let last = self.last();
        let age = last.as_ref().map(|seen| seen.asked.elapsed());
        if age.is_none_or(|age| age >= FRESH) {
            let asked = self.ask(pool, limit, tables);
            if age.is_none_or(|age| age >= USABLE)
                && let Some(asked) = asked
            {
                // It goes on without the page, and is there for the next one.
                let _ = rt::time::timeout(PATIENCE, asked).await;
            }
        }
        let seen = self.last()?;
        seen.health.map(|health| Health { stale: health.stale || seen.asked.elapsed() >= USABLE, ..health })
    }

    /// Everything that is wrong, and when that was seen, if it was of late.
    pub(super) fn findings(&self) -> Option<(Arc<[Finding]>, DateTime<Utc>)> {
        let seen = self.last()?;
        let health = seen.health.filter(|health| !health.stale && seen.asked.elapsed() < FRESH)?;
        Some((seen.findings, health.seen_at))
    }

    /// What a page has found out by itself, with the [`options`] of this.
    pub(super) fn note(&self, findings: &[Finding]) {
        let count = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
        let health = Health {
            errors: count(Severity::Error),
            warnings: count(Severity::Warning),
            infos: count(Severity::Info),
            seen_at: Utc::now(),
            stale: false,
        };
        self.keep(Seen { health: Some(health), findings: findings.into(), asked: Instant::now() });
    }

    /// Has it asked on a thread for blocking work, unless that is under way.
    fn ask(
        &self,
        pool: &AuditedPool,
        limit: Duration,
        tables: &Tables,
    ) -> Option<impl Future<Output = ()> + use<>> {
        if self.0.is_asked.swap(true, Ordering::AcqRel) {
            return None;
        }
        let (pulse, pool, tables) = (self.clone(), pool.clone(), tables.clone());
        let asking = web::block(move || {
            let _asked = Asked(Arc::clone(&pulse.0));
            let findings = pool.snapshot(limit, |conn| health::findings(conn, &options(&tables, limit)?));
            match findings {
                Ok(findings) => pulse.note(&findings),
                Err(error) => {
                    tracing::warn!(
                        cause = error.kind(),
                        "threadline: the health of capture could not be asked"
                    );
                    let last = pulse.last();
                    let health = last.as_ref().and_then(|seen| seen.health);
                    pulse.keep(Seen {
                        health: health.map(|health| Health { stale: true, ..health }),
                        findings: last.map(|seen| seen.findings).unwrap_or_default(),
                        asked: Instant::now(),
                    });
                }
            }
        });
        Some(async move { drop(asking.await) })
    }

    fn last(&self) -> Option<Seen> {
        self.0.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn keep(&self, seen: Seen) {
        *self.0.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(seen);
    }
}

/// It is no longer asked, however asking ended.
struct Asked(Arc<Shared>);

impl Drop for Asked {
    fn drop(&mut self) {
        self.0.is_asked.store(false, Ordering::Release);
    }
}

/// What the surface wants to know of health: what the configuration names, and the models that are declared.
pub(super) fn options(tables: &Tables, limit: Duration) -> Result<HealthOptions, threadline::Error> {
    // The page about gaps says so many, of so long ago, in so much time.
    let mut options = HealthOptions::from(tables)
        .statement_timeout(limit)
        .recent(Duration::from_secs(24 * 3_600))
        .gap_rows(100)
        .gap_time(Duration::from_secs(2));
    for model in threadline::audited_models() {
        options = options.expect(model.table()?);
    }
    Ok(options)
}
