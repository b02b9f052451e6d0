//! What the database is to record of each table: as the models say, as the migrations say, and the way between.

mod plan;
mod record;
mod wanted;

pub(crate) use self::plan::Plan;
pub(crate) use self::record::{Attach, deployed, is_capture};
pub(crate) use self::wanted::{Audit, audits};
