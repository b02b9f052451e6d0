//! What the verbs that check the audit have in common.

use crate::database::DatabaseArgs;
use crate::evidence::EvidenceArgs;
use crate::output::OutputArgs;

/// Whether to leave evidence of what was found, how that is shown, and where the trail is.
#[derive(clap::Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) evidence: EvidenceArgs,
    #[command(flatten)]
    pub(crate) output: OutputArgs,
    #[command(flatten)]
    pub(crate) database: DatabaseArgs,
}
