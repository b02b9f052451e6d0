//! The screens, one a file: what each asks the trail, and what it shows of the answer.

mod choose;
mod home;
mod row;
mod timeline;
mod transaction;

pub(super) use self::choose::choose;
pub(super) use self::home::home;
pub(super) use self::row::row;
pub(super) use self::timeline::timeline;
pub(super) use self::transaction::transaction;
