//! Retention: what goes when, what keeps it, and how it goes.
//!
//! Whole months leave as partitions, which takes no time and gives their space back to the disk. What else is due (in the
//! month the window ends in, by windows of single tables or actions, beside what is held) goes in batches; PostgreSQL uses
//! their space again once it has vacuumed.
//!
//! What has gone is on record before it goes. A question about an instant of which a table's past is no longer whole is
//! answered with [`AsOf::BeforeHorizon`](crate::AsOf::BeforeHorizon) or
//! [`PastProblem::BeforeHorizon`](crate::PastProblem::BeforeHorizon), never with a wrong state.
//!
//! Running it takes the owner of schema `threadline`: only an owner can detach and drop partitions, and a function that did so
//! for others would let them remove the trail.

mod archive;
mod batches;
mod expire;
mod month;
mod plan;
mod policy;
mod record;
mod removed;
mod run;
mod work;

pub use self::archive::{
    Archive, ArchivedContent, ArchivedKind, ArchivedMonth, ArchivedObject, ArchivedRows, LocalArchive,
    Release, RestoredMonth, archives, release_archive, restore_archive, verify_archive, verify_archive_with,
};
pub use self::plan::{PlannedBeside, PlannedMonth, PlannedThinning, PlannedWait, RetentionPlan, plan};
pub use self::policy::RetentionPolicy;
pub(super) use self::policy::instant_of;
pub use self::record::{RetentionRun, RunState, runs};
pub use self::removed::{Removed, removed};
pub use self::run::{Progress, run};
pub(super) use self::work::is_lock_timeout;
