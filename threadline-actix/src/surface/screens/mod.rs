//! The screens, one a file: what each asks the trail, and what it shows of the answer.

mod access_log;
mod actions;
mod actor;
mod choose;
mod correlation;
mod coverage;
mod evidence;
mod exports;
mod find;
mod gaps;
mod home;
mod redaction;
mod retention;
mod row;
mod tables;
mod timeline;
mod transaction;
mod undo;
mod views;

pub(super) use self::access_log::access_log;
pub(super) use self::actions::actions;
pub(super) use self::actor::{actor, actor_named};
pub(super) use self::choose::choose;
pub(super) use self::correlation::correlation;
pub(super) use self::coverage::coverage;
pub(super) use self::evidence::evidence;
pub(super) use self::exports::{
    cancel_export, download_export, export_command, exports, find as find_export, list as list_exports,
    start_export,
};
pub(super) use self::gaps::gaps;
pub(super) use self::home::home;
pub(super) use self::redaction::redaction;
pub(super) use self::retention::{remove_due, retention};
pub(super) use self::row::row;
pub(super) use self::tables::CHOOSE;
pub(super) use self::timeline::timeline;
pub(super) use self::transaction::transaction;
pub(super) use self::undo::undo;
pub(super) use self::views::{forget_view, list_views, save_view, saved_views};
