//! Exports: what can be had as a file, what is being made, what failed and why.

mod command;
mod deeds;
mod jobs;

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use askama::Template;
use threadline::{ExportFormat, Filter};

pub(in crate::surface) use self::deeds::{cancel_export, download_export, start_export};
use self::jobs::{Jobs, Which};
pub(in crate::surface) use self::jobs::{find, list};
use super::timeline::Chip;
use crate::surface::failure::Failure;
use crate::surface::link::Link;
use crate::surface::query::{Problem, Query};
use crate::surface::shell::Shell;
use crate::surface::value::shown;
use crate::surface::visit::Visit;
use crate::surface::window::{Preset, Span, Window};

/// What is exported unless somebody asks for another time: what the timeline shows.
const USUAL: Window = Window::Last(Span::Day);

/// Changes that are counted; beyond there is `+`.
const COUNTED: u32 = 10_000;

const FORMATS: [ExportFormat; 3] = [ExportFormat::Csv, ExportFormat::Json, ExportFormat::Ndjson];

#[derive(Template)]
#[template(path = "surface/exports.html")]
struct ExportsPage {
    shell: Shell,
    problems: Vec<Problem>,
    /// Nothing where one job alone is looked at.
    new: Option<NewExport>,
    jobs: Jobs,
}

/// An export that can be started.
struct NewExport {
    obstacle: Option<Obstacle>,
    presets: Vec<Preset>,
    chips: Vec<Chip>,
    sentence: String,
    /// The filter and the window, for the form to send.
    parts: Vec<(&'static str, String)>,
    formats: Vec<FormatChoice>,
    timeline: String,
    /// The command that does the same; empty where there is none to be trusted.
    command: String,
}

/// Why none can be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Obstacle {
    /// There is no place for files.
    NoStorage,
    /// A job belongs to somebody, and nobody is named.
    Nobody,
}

struct FormatChoice {
    name: &'static str,
    label: &'static str,
    is_chosen: bool,
}

/// What is to be exported, as the URL or the form has it.
struct Question {
    filter: Filter,
    window: Window,
    format: ExportFormat,
}

impl Question {
    /// Takes it out of a query. `Err` with everything that is wrong with it.
    fn take(visit: &Visit, query: &mut Query) -> Result<Self, Vec<Problem>> {
        let mut problems = Vec::new();
        let window = Window::take(query, visit.preferences.zone, USUAL).unwrap_or_else(|wrong| {
            problems.extend(wrong);
            USUAL
        });
        let format = query.take("format").and_then(|name| match name {
            None => Ok(ExportFormat::Csv),
            Some(name) => FORMATS
                .into_iter()
                .find(|format| format.as_str() == name)
                .ok_or_else(|| Problem::new("format", "is not csv, json or ndjson")),
        });
        let format = format.unwrap_or_else(|problem| {
            problems.push(problem);
            ExportFormat::Csv
        });
        let filter = query.take_filter(&Filter::NAMES).unwrap_or_else(|wrong| {
            problems.extend(wrong);
            Filter::new()
        });
        if problems.is_empty() { Ok(Self { filter, window, format }) } else { Err(problems) }
    }

    /// The usual one.
    fn usual() -> Self {
        Self { filter: Filter::new(), window: USUAL, format: ExportFormat::Csv }
    }

    /// The filter and the window as a URL has them.
    fn parts(&self) -> Vec<(&'static str, String)> {
        let mut parts = self.filter.pairs();
        parts.extend(self.window.pairs(USUAL));
        parts
    }

    fn link(filter: &Filter, window: Window) -> Link {
        Link::to("exports").with_all(filter.pairs()).with_all(window.pairs(USUAL))
    }
}

/// One's exports, and what takes to start another.
pub(in crate::surface) async fn exports(visit: &Visit) -> Result<HttpResponse, Failure> {
    let mut query = visit.query();
    let which = Which::take(&mut query)?;
    if let Which::One(_) = which {
        let unknown = query.unknown(&["job"]);
        if !unknown.is_empty() {
            return Err(Failure::Invalid(unknown));
        }
        let jobs = Jobs::read(visit, which).await?;
        return visit.page(&ExportsPage { shell: jobs.shell(visit), problems: Vec::new(), new: None, jobs });
    }
    let question = Question::take(visit, &mut query);
    let known: Vec<&str> = Filter::NAMES.into_iter().chain(["window", "format", "job", "before"]).collect();
    let unknown = query.unknown(&known);
    let question = match question {
        Ok(question) if unknown.is_empty() => question,
        question => {
            let mut problems = question.err().unwrap_or_default();
            problems.extend(unknown);
            return page(visit, StatusCode::BAD_REQUEST, problems, Question::usual(), which).await;
        }
    };
    page(visit, StatusCode::OK, Vec::new(), question, which).await
}

/// The command that exports what was asked for: for who may not do it here.
pub(in crate::surface) fn export_command(visit: &Visit) -> String {
    let asked = Question::take(visit, &mut visit.query());
    let command = asked.map(|asked| command::export(&asked.filter, asked.window, asked.format));
    command.ok().filter(|command| !command.is_empty()).unwrap_or_else(|| visit.screen().command().to_owned())
}

/// The page with what is wrong with what was asked, if something is.
async fn page(
    visit: &Visit,
    status: StatusCode,
    mut problems: Vec<Problem>,
    question: Question,
    which: Which,
) -> Result<HttpResponse, Failure> {
    let asked = question.window.narrow(question.filter.clone(), visit.now);
    let count = visit.read_for_export(move |conn, trail| trail.count(conn, &asked, COUNTED)).await;
    let (status, sentence) = match count {
        Ok(count) => {
            let changes = if count.counted == 1 && !count.capped { "change" } else { "changes" };
            let zone = visit.preferences.zone;
            (status, format!("{count} {changes} {}, {}", question.window.words(zone), zone.name()))
        }
        Err(Failure::Invalid(wrong)) => {
            problems.extend(wrong);
            (StatusCode::BAD_REQUEST, String::new())
        }
        // How much it will be is not worth waiting for; a worker takes its time.
        Err(Failure::TooLong) => (
            status,
            format!("Changes {}, too many to count at once", question.window.words(visit.preferences.zone)),
        ),
        Err(failure) => return Err(failure),
    };
    let jobs = Jobs::read(visit, which).await?;
    let new = Some(NewExport::new(visit, &question, sentence));
    visit.page_with(status, &ExportsPage { shell: jobs.shell(visit), problems, new, jobs })
}

impl NewExport {
    fn new(visit: &Visit, question: &Question, sentence: String) -> Self {
        let pairs = question.filter.pairs();
        let chips = pairs.iter().enumerate().map(|(place, (name, value))| {
            let rest =
                pairs.iter().enumerate().filter(|(other, _)| *other != place).map(|(_, pair)| pair.clone());
            let without = Link::to("exports").with_all(rest).with_all(question.window.pairs(USUAL));
            Chip { name: name.replace('_', " "), value: shown(value), without: visit.href(&without) }
        });
        Self {
            obstacle: obstacle(visit),
            presets: Preset::all(visit, question.window, |window| Question::link(&question.filter, window)),
            chips: chips.collect(),
            sentence,
            parts: question.parts(),
            formats: FORMATS
                .into_iter()
                .map(|format| FormatChoice {
                    name: format.as_str(),
                    label: label(format),
                    is_chosen: format == question.format,
                })
                .collect(),
            timeline: visit.href(&Question::link(&question.filter, question.window).under("timeline")),
            command: command::export(&question.filter, question.window, question.format),
        }
    }
}

fn label(format: ExportFormat) -> &'static str {
    match format {
        ExportFormat::Csv => "CSV, for a spreadsheet",
        ExportFormat::Json => "JSON, one document",
        ExportFormat::Ndjson => "NDJSON, one object a line",
    }
}

fn obstacle(visit: &Visit) -> Option<Obstacle> {
    if visit.config.storage.is_none() {
        Some(Obstacle::NoStorage)
    } else if visit.somebody().is_none() {
        Some(Obstacle::Nobody)
    } else {
        None
    }
}
