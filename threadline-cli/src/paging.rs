//! Lists that come in pages: one of them, or all one after the other.

use std::io;

use anyhow::Result;
use serde::Serialize;
use threadline::{Cursor, ListHorizon, Order, Page, PageRequest, TableHorizon};

use crate::output::{Listing, Output, note, note_removed, when};
use crate::progress::Progress;

/// Which part of a list to show.
#[derive(clap::Args)]
#[command(next_help_heading = "Paging")]
pub(crate) struct PageArgs {
    // Not a default of clap's: whether it was given matters where a list is one of several answers.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000), conflicts_with = "all",
        help = "At most so many entries, up to 1000 [default: 50]", long_help = "At most so many entries, up to 1000\n\n[default: 50]")]
    limit: Option<u32>,

    /// Go on after the page that printed this cursor
    #[arg(long, value_name = "CURSOR")]
    cursor: Option<String>,

    /// All entries, page by page, however many there are
    #[arg(long)]
    all: bool,

    /// From the beginning of the trail on, instead of back from now
    #[arg(long)]
    oldest_first: bool,
}

/// How a list ends.
#[derive(Serialize)]
struct End {
    cursor: Option<Cursor>,
    has_more: bool,
    /// What retention has removed of what was asked for, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    removed: Option<Removed>,
}

/// What retention has removed of a list.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum Removed {
    /// Of changes, by table.
    Changes(Vec<TableHorizon>),
    /// Of what is no change of any table.
    Entries(Option<ListHorizon>),
}

impl PageArgs {
    /// Whether a part of a list was asked for.
    pub(crate) fn is_given(&self) -> bool {
        self.all || self.oldest_first || self.cursor.is_some() || self.limit.is_some()
    }

    fn request(&self) -> Result<PageRequest> {
        let order = if self.oldest_first { Order::OldestFirst } else { Order::NewestFirst };
        let size = if self.all { PageRequest::MAX_SIZE } else { self.limit.unwrap_or(50) };
        let request = PageRequest::new().size(size)?.order(order);
        Ok(match &self.cursor {
            Some(cursor) => request.after(cursor.parse()?),
            None => request,
        })
    }

    /// Reads what is asked for with `read`, and shows it: as one document, or with `show` for people, who hear what an entry is
    /// called when there is none.
    pub(crate) fn walk<T: Serialize>(
        &self,
        output: &mut Output,
        called: &str,
        read: impl FnMut(&PageRequest) -> Result<Page<T>, threadline::Error>,
        show: impl FnMut(&mut Output, &[T]) -> io::Result<()>,
    ) -> Result<()> {
        self.walk_beyond(None, output, called, read, show)
    }

    /// As [`walk`](Self::walk), of what retention has removed a part of perhaps, and says that in the end.
    pub(crate) fn walk_beyond<T: Serialize>(
        &self,
        removed: Option<Removed>,
        output: &mut Output,
        called: &str,
        mut read: impl FnMut(&PageRequest) -> Result<Page<T>, threadline::Error>,
        mut show: impl FnMut(&mut Output, &[T]) -> io::Result<()>,
    ) -> Result<()> {
        #[derive(Serialize)]
        struct Nothing {}
        let mut request = self.request()?;
        let mut shown = 0;
        let progress = if self.all { Progress::begin(output, called) } else { Progress::none() };
        // The first page is read before anything is printed: what cannot be asked leaves standard output empty.
        let mut page = read(&request)?;
        let mut listing =
            output.is_json().then(|| Listing::begin(output, &Nothing {}, "entries")).transpose()?;
        let end = loop {
            shown += page.entries.len() as u64;
            progress.at(shown);
            match &mut listing {
                Some(listing) => page.entries.iter().try_for_each(|entry| listing.entry(output, entry))?,
                None => show(output, &page.entries)?,
            }
            match page.cursor.filter(|_| self.all) {
                Some(cursor) => request = self.request()?.after(cursor),
                None => break End { cursor: page.cursor, has_more: page.has_more, removed },
            }
            page = read(&request)?;
        };
        progress.end();
        if let Some(listing) = listing {
            listing.end(output, &end)?;
        } else if shown == 0 {
            note(&format!("no {called} found"));
        }
        output.flush()?;
        if output.is_json() {
            return Ok(());
        }
        if let Some(cursor) = end.cursor {
            note(&format!("there are more {called}; the next page: --cursor {cursor}"));
        }
        // From the newest on, it is the last page that ends where retention has ended it.
        if self.oldest_first || !end.has_more {
            match end.removed {
                Some(Removed::Changes(horizons)) => note_removed(&horizons),
                Some(Removed::Entries(Some(horizon))) => {
                    note(&format!("{called} before {} were removed by retention", when(horizon.before)));
                }
                Some(Removed::Entries(None)) | None => {}
            }
        }
        Ok(())
    }
}
