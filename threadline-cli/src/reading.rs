//! What the verbs that list a part of the trail have in common.

use crate::database::TrailArgs;
use crate::filter::FilterArgs;
use crate::output::OutputArgs;
use crate::paging::PageArgs;

/// Which entries of whose trail, which part of them, and how they are shown.
#[derive(clap::Args)]
pub(crate) struct ReadArgs {
    #[command(flatten)]
    pub(crate) filter: FilterArgs,
    #[command(flatten)]
    pub(crate) page: PageArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) trail: TrailArgs,
}
