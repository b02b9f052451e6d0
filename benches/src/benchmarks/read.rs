//! `read`: how fast a trail of a million changes is read, and of ten million, in monthly partitions over a year.
//!
//! To measure one more call of the library, add a line to [`QUESTIONS`] or, for one that reads on and on, to [`STREAMS`].

use std::time::Instant;

use anyhow::{Context, ensure};
use chrono::{DateTime, Utc};
use diesel::pg::PgRowByRowLoadingMode;
use diesel::prelude::*;
use diesel::sql_types::{Text, Timestamptz};
use threadline::{ExportFormat, ExportOptions, Filter, HistoryLimit, PageRequest, TableName, Trail, travel};
use uuid::Uuid;

use crate::figures::Figure;
use crate::loaded_trail::{LoadedTrail, Pick};
use crate::machine::Machine;
use crate::memory::PeakMemory;
use crate::rounds::{Samples, rotation};
use crate::table::Table;
use crate::{Effort, Outcome};

/// How much longer an answer may take from ten times the trail.
const FLAT: f64 = 1.5;

diesel::table! {
    posts (id) {
        id -> BigInt,
    }
}

/// What an operator asks and waits for; timed one by one, each time about something else.
struct Question {
    name: &'static str,
    /// What the typical answer is to take at most, in milliseconds.
    goal_ms: Option<f64>,
    /// The function of `trail_picks.sql` that says what to ask about.
    picks: &'static str,
    /// Fails when the answer is not what the trail holds.
    ask: fn(&mut PgConnection, &Pick) -> anyhow::Result<()>,
}

const QUESTIONS: &[Question] = &[
    Question {
        name: "timeline_page",
        goal_ms: Some(2.0),
        picks: "pick_instants_alone",
        ask: |conn, _| page(conn, &Filter::new(), 50),
    },
    Question {
        name: "timeline_deep_page",
        goal_ms: Some(2.0),
        picks: "pick_instants_alone",
        ask: |conn, pick| page(conn, &Filter::new().to(pick.at), 50),
    },
    Question {
        name: "timeline_by_table",
        goal_ms: Some(2.0),
        picks: "pick_tables",
        ask: |conn, pick| {
            page(conn, &Filter::new().table(TableName::new(None, &pick.subject)).to(pick.at), 50)
        },
    },
    Question {
        name: "timeline_by_actor",
        goal_ms: None,
        picks: "pick_actors",
        ask: |conn, pick| page(conn, &Filter::from_pairs([("actor", &pick.subject)])?, 1),
    },
    Question {
        name: "timeline_by_correlation",
        goal_ms: None,
        picks: "pick_correlations",
        ask: |conn, pick| page(conn, &Filter::new().transaction_correlation_id(&pick.subject), 1),
    },
    Question {
        name: "row_history_100",
        goal_ms: Some(2.0),
        picks: "pick_busy_posts",
        ask: |conn, pick| {
            let history = Trail::unscoped().row_history(
                conn,
                &post_table(),
                &pick.post()?,
                HistoryLimit::Newest(100),
            )?;
            ensure!(history.versions.len() == 100 && history.versions.iter().all(|version| !version.gap));
            Ok(())
        },
    },
    Question {
        name: "as_of",
        goal_ms: None,
        picks: "pick_post_changes",
        ask: |conn, pick| {
            let answer = Trail::unscoped().row_as_of(conn, &post_table(), &pick.post()?, pick.at)?;
            ensure!(!matches!(answer, threadline::AsOf::Gap { .. } | threadline::AsOf::Unknown));
            Ok(())
        },
    },
    Question {
        name: "travel_one_row",
        goal_ms: None,
        picks: "pick_post_changes",
        ask: |conn, pick| {
            let id: i64 = pick.subject.parse()?;
            let found: Vec<i64> = travel(conn, pick.at, |conn| {
                posts::table.find(id).select(posts::id).load(conn).map_err(threadline::Error::from)
            })?;
            ensure!(found.len() <= 1);
            Ok(())
        },
    },
    Question {
        name: "incident_20",
        goal_ms: Some(2.0),
        picks: "pick_incidents",
        ask: |conn, pick| {
            let id = Uuid::parse_str(&pick.subject)?;
            let bundle = Trail::unscoped().incident_bundle(conn, id)?.context("no such transaction")?;
            ensure!(bundle.changes.len() == 20 && bundle.actions.len() == 1);
            Ok(())
        },
    },
];

/// Reads a page of 50, the newest first; at least so many changes have to be on it.
fn page(conn: &mut PgConnection, filter: &Filter, at_least: usize) -> anyhow::Result<()> {
    let page = Trail::unscoped().timeline_page(conn, filter, &PageRequest::new().size(50)?)?;
    ensure!(page.entries.len() >= at_least && page.entries.iter().all(|entry| entry.transaction.is_some()));
    Ok(())
}

/// What reads many changes one after the other; timed as a whole.
struct Stream {
    name: &'static str,
    /// How many changes a second it is to deliver at least.
    goal_rows_per_s: Option<f64>,
    /// Reads all changes captured at or after an instant; returns how many.
    read: fn(&mut PgConnection, DateTime<Utc>) -> anyhow::Result<u64>,
}

// In the order of what they take: one does not show the memory that one before it has left to the process.
const STREAMS: &[Stream] = &[
    Stream {
        name: "export",
        goal_rows_per_s: Some(100_000.0),
        read: |conn, since| {
            let options = ExportOptions::new(ExportFormat::Ndjson).unlimited();
            let filter = Filter::new().from(since);
            Ok(Trail::unscoped().export(conn, &filter, &options, std::io::sink())?.rows)
        },
    },
    // What PostgreSQL hands out when nothing is done with it, for comparison.
    Stream {
        name: "plain_select",
        goal_rows_per_s: None,
        read: |conn, since| {
            let rows = diesel::sql_query(
                "SELECT to_jsonb(c)::text AS entry FROM threadline.audit_changes c WHERE c.captured_at >= $1 ORDER BY c.captured_at",
            )
            .bind::<Timestamptz, _>(since)
            .load_iter::<Entry, PgRowByRowLoadingMode>(conn)?;
            let mut count = 0;
            for row in rows {
                ensure!(row?.entry.starts_with('{'));
                count += 1;
            }
            Ok(count)
        },
    },
];

#[derive(QueryableByName)]
struct Entry {
    #[diesel(sql_type = Text)]
    entry: String,
}

fn post_table() -> TableName {
    TableName::new(None, "posts")
}

/// How much to measure.
struct Sizes {
    /// One trail for each.
    changes: &'static [i64],
    rounds: usize,
    /// How often a question is asked in a round.
    samples: usize,
    /// How many changes a stream reads, the newest ones.
    streamed: i64,
}

impl Sizes {
    fn of(effort: Effort) -> Self {
        match effort {
            Effort::Full => {
                Self { changes: &[1_000_000, 10_000_000], rounds: 5, samples: 200, streamed: 500_000 }
            }
            Effort::Quick => Self { changes: &[1_000_000], rounds: 3, samples: 100, streamed: 200_000 },
            Effort::Smoke => Self { changes: &[3_000], rounds: 1, samples: 3, streamed: 1_000 },
        }
    }
}

/// Asked before the first timed answer of a round: PostgreSQL plans a prepared statement anew for the first five.
const WARM_UP: usize = 6;

/// A trail, and what it is asked about.
struct Arena {
    trail: LoadedTrail,
    /// By question.
    picks: Vec<Vec<Pick>>,
    streamed_since: DateTime<Utc>,
}

impl Arena {
    fn new(changes: i64, sizes: &Sizes) -> anyhow::Result<Self> {
        let mut trail = LoadedTrail::new(changes)?;
        let wanted = sizes.samples * sizes.rounds;
        let picks =
            QUESTIONS.iter().map(|question| trail.picks(question.picks, wanted)).collect::<Result<_, _>>()?;
        let streamed_since = trail.since(sizes.streamed)?;
        Ok(Self { trail, picks, streamed_since })
    }

    /// Milliseconds for each answer of a round.
    fn ask(&mut self, question: usize, round: usize, samples: usize) -> anyhow::Result<Samples> {
        let Question { name, ask, .. } = QUESTIONS[question];
        let picks = &self.picks[question];
        let mut times = Samples::default();
        for turn in 0..WARM_UP + samples {
            // The warm-up asks about what the round asks about last.
            let pick =
                &picks[(round * samples + (turn + samples - WARM_UP % samples) % samples) % picks.len()];
            let started = Instant::now();
            ask(&mut self.trail.conn, pick).with_context(|| format!("{name} of {} failed", pick.subject))?;
            if turn >= WARM_UP {
                times.push(started.elapsed().as_secs_f64() * 1e3);
            }
        }
        Ok(times)
    }

    fn stream(&mut self, stream: &Stream, streamed: i64) -> anyhow::Result<(f64, f64)> {
        let memory = PeakMemory::watch()?;
        let started = Instant::now();
        let rows = (stream.read)(&mut self.trail.conn, self.streamed_since)?;
        let seconds = started.elapsed().as_secs_f64();
        ensure!(i64::try_from(rows)? >= streamed, "{} read {rows} changes of {streamed}", stream.name);
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
        Ok((rows as f64 / seconds, memory.grown_mib()?))
    }
}

/// What one trail showed, by question and by stream.
struct Measured {
    /// Milliseconds, one value a round.
    p50: Vec<Samples>,
    p99: Vec<Samples>,
    rows_per_s: Vec<Samples>,
    /// Of the first round: later ones may find memory their predecessors have left to the process.
    peak_mib: Vec<f64>,
}

/// Measures reading.
///
/// # Errors
///
/// When the server refuses a statement, or an answer is wrong; panics as [`LoadedTrail::new`] does.
pub(crate) fn run(effort: Effort) -> anyhow::Result<Outcome> {
    let sizes = Sizes::of(effort);
    let mut arenas = sizes
        .changes
        .iter()
        .map(|&changes| Arena::new(changes, &sizes))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut results: Vec<Measured> = arenas
        .iter()
        .map(|_| Measured {
            p50: vec![Samples::default(); QUESTIONS.len()],
            p99: vec![Samples::default(); QUESTIONS.len()],
            rows_per_s: vec![Samples::default(); STREAMS.len()],
            peak_mib: Vec::new(),
        })
        .collect();
    for round in 0..sizes.rounds {
        eprintln!("read: round {} of {}", round + 1, sizes.rounds);
        // Before the questions, which leave memory to the process.
        for (place, stream) in STREAMS.iter().enumerate() {
            for (arena, measured) in arenas.iter_mut().zip(&mut results) {
                let (rows_per_s, peak_mib) = arena.stream(stream, sizes.streamed)?;
                measured.rows_per_s[place].push(rows_per_s);
                if round == 0 {
                    measured.peak_mib.push(peak_mib);
                }
            }
        }
        for question in rotation(QUESTIONS.len(), round) {
            for (arena, measured) in arenas.iter_mut().zip(&mut results) {
                let times = arena.ask(question, round, sizes.samples)?;
                measured.p50[question].push(times.quantile(0.5));
                measured.p99[question].push(times.quantile(0.99));
            }
        }
    }
    let machine = Machine::of(&mut arenas[0].trail.conn)?;
    Ok(Outcome { machine, figures: figures(&results), tables: tables(&arenas, &results, &sizes) })
}

/// The typical answer of the longest trail over that of the shortest; `None` when there is one.
fn growth(results: &[Measured], question: usize) -> Option<f64> {
    let [shortest, .., longest] = results else { return None };
    Some(longest.p50[question].min() / shortest.p50[question].min())
}

/// Of the shortest trail, and how they grow.
fn figures(results: &[Measured]) -> Vec<Figure> {
    let shortest = &results[0];
    let mut figures = Vec::new();
    for (place, question) in QUESTIONS.iter().enumerate() {
        let name = |quantity: &str| format!("read.{}.{quantity}", question.name);
        figures.push(Figure::new(name("p50_ms"), shortest.p50[place].min(), 3, "ms", question.goal_ms));
        figures.push(Figure::new(name("p99_ms"), shortest.p99[place].min(), 3, "ms", None));
        if let Some(growth) = growth(results, place) {
            figures.push(Figure::new(name("growth_ratio"), growth, 2, "ratio", Some(FLAT)));
        }
    }
    for (place, stream) in STREAMS.iter().enumerate() {
        let name = |quantity: &str| format!("read.{}.{quantity}", stream.name);
        let rows_per_s = shortest.rows_per_s[place].max();
        figures.push(
            Figure::new(name("rows_per_s"), rows_per_s, 0, "rows/s", stream.goal_rows_per_s).more_is_better(),
        );
        figures.push(Figure::new(name("peak_mib"), shortest.peak_mib[place], 1, "MiB", None));
    }
    figures
}

fn tables(arenas: &[Arena], results: &[Measured], sizes: &Sizes) -> String {
    let mut trails = Table::new(&["trail", "MiB"]);
    let mut answers = Table::new(&["one answer", "changes", "p50 ms", "goal", "p99 ms", "growth"]);
    let mut streams = Table::new(&["all changes in a row", "changes", "rows/s", "goal", "peak MiB"]);
    for arena in arenas {
        trails.push(vec![format!("{} changes", arena.trail.changes), arena.trail.mib.to_string()]);
    }
    for (place, question) in QUESTIONS.iter().enumerate() {
        for (index, (arena, measured)) in arenas.iter().zip(results).enumerate() {
            let p50 = measured.p50[place].min();
            let growth = growth(results, place).filter(|_| index + 1 == results.len());
            answers.push(vec![
                question.name.to_owned(),
                arena.trail.changes.to_string(),
                format!("{p50:.2}"),
                against(question.goal_ms, |goal| p50 <= goal),
                format!("{:.2}", measured.p99[place].min()),
                growth.map_or_else(String::new, |growth| format!("{growth:.2}")),
            ]);
        }
    }
    for (place, stream) in STREAMS.iter().enumerate() {
        for (arena, measured) in arenas.iter().zip(results) {
            let rows_per_s = measured.rows_per_s[place].max();
            streams.push(vec![
                stream.name.to_owned(),
                arena.trail.changes.to_string(),
                format!("{rows_per_s:.0}"),
                against(stream.goal_rows_per_s, |goal| rows_per_s >= goal),
                format!("{:.1}", measured.peak_mib[place]),
            ]);
        }
    }
    format!(
        "Least disturbed of {} rounds of {} answers, each about something else; the newest {} changes in a row.\n\
        Growth: the typical answer of the longest trail over that of the shortest.\n\n{}\n\n{}\n\n{}",
        sizes.rounds,
        sizes.samples,
        sizes.streamed,
        trails.render(),
        answers.render(),
        streams.render()
    )
}

/// The goal and whether it is met; empty without one.
fn against(goal: Option<f64>, met: impl Fn(f64) -> bool) -> String {
    goal.map_or_else(String::new, |goal| format!("{goal} {}", if met(goal) { "met" } else { "MISSED" }))
}
