//! One file a verb: its `Args` and its `run`.

pub(crate) mod generate;
pub(crate) mod install;
