//! One file a benchmark; `scripts/bench` knows them by the names of these files.

pub(crate) mod capture;
pub(crate) mod exports;
pub(crate) mod health;
pub(crate) mod read;
pub(crate) mod request;
pub(crate) mod retention;
pub(crate) mod surface;
