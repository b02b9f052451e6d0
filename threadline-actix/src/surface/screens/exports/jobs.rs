//! One's jobs, as they stand.

use chrono::{DateTime, Utc};
use threadline::exports::{self, ExportFailure, ExportJob, ExportState};
use threadline::{ExportFormat, Filter};
use uuid::Uuid;

use super::super::retention::size;
use crate::surface::entry::table_text;
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::moment::Moment;
use crate::surface::prose::Prose;
use crate::surface::query::{Problem, Query};
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;
use crate::surface::window::Window;

/// Jobs on a page.
const SIZE: u32 = 50;

/// A job that nobody has taken for so long, in seconds, may have no worker to take it.
const LONG: i64 = 60;

/// Which jobs are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Newest,
    Before(Uuid),
    One(Uuid),
}

impl Which {
    /// Takes it out of a query.
    pub(super) fn take(query: &mut Query) -> Result<Self, Problem> {
        let mut id = |name| {
            let id = query.take(name)?.map(|text| Uuid::try_parse(&text));
            id.transpose().map_err(|_| Problem::new(name, "is not the id of an export"))
        };
        Ok(match (id("job")?, id("before")?) {
            (Some(_), Some(_)) => {
                return Err(Problem::new("before", "goes with no `job`; leave one of them out"));
            }
            (Some(job), None) => Self::One(job),
            (None, Some(before)) => Self::Before(before),
            (None, None) => Self::Newest,
        })
    }
}

/// One's jobs by where they stand.
pub(super) struct Jobs {
    pub(super) groups: Vec<JobGroup>,
    /// Whether it is one alone.
    pub(super) is_one: bool,
    pub(super) is_first_page: bool,
    pub(super) older: Option<String>,
    /// Whether one of them will be another soon.
    is_active: bool,
}

pub(super) struct JobGroup {
    pub(super) label: &'static str,
    pub(super) id: &'static str,
    pub(super) jobs: Vec<JobView>,
}

/// A job.
pub(super) struct JobView {
    pub(super) id: String,
    /// The class of the style sheet.
    pub(super) class: &'static str,
    pub(super) state: &'static str,
    pub(super) asked: Moment,
    pub(super) format: &'static str,
    pub(super) parts: Vec<(String, String)>,
    /// How it stands, in a sentence.
    pub(super) sentence: Option<Prose>,
    pub(super) file: Option<FileView>,
    pub(super) download: Option<String>,
    pub(super) can_be_cancelled: bool,
    pub(super) again: Option<String>,
    pub(super) timeline: Option<String>,
}

/// The file of a job.
pub(super) struct FileView {
    pub(super) name: String,
    pub(super) changes: u64,
    pub(super) size: String,
    pub(super) sha256: String,
    pub(super) expires: Option<Moment>,
    pub(super) truncated: bool,
    /// Tables of which retention had removed something of the time asked about.
    pub(super) removed: Vec<String>,
}

/// The job, if it is the visitor's and of what they may export at present.
pub(in crate::surface) async fn find(visit: &Visit, id: Uuid) -> Result<Option<ExportJob>, Failure> {
    let Some(owner) = visit.somebody().cloned() else { return Ok(None) };
    let scope = visit.permissions.export.scope().cloned();
    visit
        .read_for_export(move |conn, _| match scope {
            None => exports::get(conn, id, &owner),
            Some(scope) => exports::get_under(conn, id, &owner, &scope),
        })
        .await
}

/// The visitor's jobs, newest first, and one more than a page has, if there are so many.
pub(in crate::surface) async fn list(visit: &Visit, before: Option<Uuid>) -> Result<Vec<ExportJob>, Failure> {
    let Some(owner) = visit.somebody().cloned() else { return Ok(Vec::new()) };
    let scope = visit.permissions.export.scope().cloned();
    visit
        .read_for_export(move |conn, _| match scope {
            None => exports::list(conn, &owner, before, SIZE + 1),
            Some(scope) => exports::list_under(conn, &owner, &scope, before, SIZE + 1),
        })
        .await
}

impl Jobs {
    pub(super) async fn read(visit: &Visit, which: Which) -> Result<Self, Failure> {
        let mut jobs = match which {
            Which::Newest => list(visit, None).await?,
            Which::Before(id) => list(visit, Some(id)).await?,
            Which::One(id) => vec![find(visit, id).await?.ok_or(Failure::NotFound)?],
        };
        let has_more = jobs.len() > SIZE as usize;
        jobs.truncate(SIZE as usize);
        let last = jobs.last().map(|job| job.id).filter(|_| has_more);
        let older = last.map(|id| visit.href(&Link::to("exports").with("before", id.to_string())));
        let is_active =
            jobs.iter().any(|job| matches!(job.state, ExportState::Queued | ExportState::Running));
        let stages = [
            (Stage::Preparing, "Preparing", "preparing"),
            (Stage::Ready, "Ready", "ready"),
            (Stage::Failed, "Needs attention", "failed"),
            (Stage::Over, "No longer there", "over"),
        ];
        let groups = stages.into_iter().map(|(stage, label, id)| JobGroup {
            label,
            id,
            jobs: jobs
                .iter()
                .filter(|job| Stage::of(visit, job) == stage)
                .map(|job| JobView::new(visit, job, stage))
                .collect(),
        });
        Ok(Self {
            groups: groups.filter(|group| !group.jobs.is_empty()).collect(),
            is_one: matches!(which, Which::One(_)),
            is_first_page: which == Which::Newest,
            older,
            is_active,
        })
    }

    /// What is around them: a page that asks again for as long as something is being made.
    pub(super) fn shell(&self, visit: &Visit) -> Shell {
        let shell = visit.shell();
        Shell { refresh: shell.refresh.filter(|_| self.is_active), ..shell }
    }
}

/// What a job is to whom it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Preparing,
    Ready,
    Failed,
    Over,
}

impl Stage {
    fn of(visit: &Visit, job: &ExportJob) -> Self {
        match job.state {
            ExportState::Queued | ExportState::Running => Self::Preparing,
            ExportState::Completed if job.expires_at.is_some_and(|at| at > visit.now) => Self::Ready,
            ExportState::Failed => Self::Failed,
            _ => Self::Over,
        }
    }
}

impl JobView {
    fn new(visit: &Visit, job: &ExportJob, stage: Stage) -> Self {
        let filter = job.filter().ok();
        let question = filter.as_ref().map(of);
        let window = match job.window_seconds {
            Some(seconds) => vec![("window".to_owned(), format!("{seconds} s before it is made"))],
            None => Vec::new(),
        };
        let parts =
            filter.iter().flat_map(Filter::pairs).map(|(name, value)| match value.parse::<DateTime<Utc>>() {
                Ok(at) if matches!(name, "from" | "to") => (name, visit.moment(at).shown),
                _ => (name, value),
            });
        let file = FileView::new(visit, job).filter(|_| stage == Stage::Ready || stage == Stage::Over);
        Self {
            id: job.id.to_string(),
            class: match stage {
                Stage::Preparing => "preparing",
                Stage::Ready => "ready",
                Stage::Failed => "failed",
                Stage::Over => "over",
            },
            state: match (job.state, stage) {
                (ExportState::Queued, _) => "queued",
                (ExportState::Running, _) => "running",
                (_, Stage::Ready) => "ready",
                (ExportState::Failed, _) => "failed",
                (ExportState::Cancelled, _) => "cancelled",
                _ => "expired",
            },
            asked: visit.moment(job.requested_at),
            format: match job.format {
                ExportFormat::Csv => "CSV",
                ExportFormat::Json => "JSON",
                ExportFormat::Ndjson => "NDJSON",
            },
            parts: parts.map(|(name, value)| (name.replace('_', " "), shown(&value))).chain(window).collect(),
            sentence: Some(sentence(visit, job, stage))
                .filter(|said| !said.is_empty())
                .map(|said| Prose::new(&said)),
            download: (stage == Stage::Ready && visit.config.storage.is_some())
                .then(|| visit.href(&Link::to("exports/file").with("job", job.id.to_string()))),
            file,
            can_be_cancelled: stage == Stage::Preparing,
            again: question
                .clone()
                .filter(|_| stage != Stage::Preparing)
                .map(|link| visit.href(&link.with("format", job.format.as_str()))),
            timeline: question.map(|link| visit.href(&link.under("timeline"))),
        }
    }
}

/// The same question for another page. What has neither beginning nor end is of all the time there is.
fn of(filter: &Filter) -> Link {
    let pairs = filter.pairs();
    let is_bounded = pairs.iter().any(|(name, _)| matches!(*name, "from" | "to"));
    let window = if is_bounded { Vec::new() } else { Window::All.pairs(super::USUAL) };
    Link::to("exports").with_all(pairs).with_all(window)
}

/// How a job stands.
fn sentence(visit: &Visit, job: &ExportJob, stage: Stage) -> String {
    let so_far = || {
        let changes = if job.rows_written == 1 { "change" } else { "changes" };
        format!("{} {changes}, {}", job.rows_written, size(job.bytes_written))
    };
    let tries = match job.failures {
        0 => String::new(),
        1 => " One attempt has failed before.".to_owned(),
        failures => format!(" {failures} attempts have failed before."),
    };
    match (job.state, stage) {
        (ExportState::Queued, _) if job.due_at > visit.now => {
            format!("To be made at {}.{tries}", visit.moment(job.due_at).shown)
        }
        (ExportState::Queued, _) if (visit.now - job.due_at).num_seconds() > LONG => format!(
            "No worker has taken it yet. Exports are made by `threadline worker`, or by the application's own.{tries}"
        ),
        (ExportState::Queued, _) => format!("Waits for a worker.{tries}"),
        (ExportState::Running, _) => format!("{} so far.{tries}", so_far()),
        (_, Stage::Ready) if visit.config.storage.is_none() => {
            "It cannot be downloaded here: this application has not said where its export files lie."
                .to_owned()
        }
        (_, Stage::Ready) => String::new(),
        (ExportState::Failed, _) => job.error.map_or("It was not made.", reason).to_owned(),
        (ExportState::Cancelled, _) => "It was cancelled before it was made.".to_owned(),
        _ => "Its time is over, and its file is gone or going.".to_owned(),
    }
}

/// Why it failed, and what to do about it.
fn reason(failure: ExportFailure) -> &'static str {
    match failure {
        ExportFailure::RequestUnreadable => {
            "This version does not read the filter it was asked for with. Start it anew from the timeline."
        }
        ExportFailure::ScopeUnreadable => {
            "What you may see could not be read, so nothing was exported. Start it anew."
        }
        ExportFailure::Refused => {
            "The trail has no answer to this filter: a table is not in it, or a key is not one of the table's."
        }
        ExportFailure::Database => "The database did not answer, or refused. Start it anew, or ask for less.",
        ExportFailure::Storage => "The storage did not take the file. Who runs the application can tell why.",
        ExportFailure::Verification => {
            "What the storage had was not what was written. Who runs the application can tell why."
        }
        ExportFailure::Abandoned => "The worker that had it was not heard of again. Start it anew.",
        _ => "It failed.",
    }
}

impl FileView {
    fn new(visit: &Visit, job: &ExportJob) -> Option<Self> {
        let summary = job.summary.as_ref()?;
        Some(Self {
            name: job.file_name(),
            changes: summary.rows,
            size: size(summary.bytes),
            sha256: summary.sha256.clone(),
            expires: job.expires_at.map(|at| visit.moment(at)),
            truncated: summary.truncated,
            removed: summary.removed.iter().map(|horizon| table_text(&horizon.table)).collect(),
        })
    }
}
