//! Ctrl-C, for what ends between two steps rather than in the middle of one.

use anyhow::{Context, Result};
use threadline_worker::Stop;

use crate::output::note;

/// By convention, 128 and the number of SIGINT.
pub(crate) const EXIT_CODE: u8 = 130;

/// A wish to stop that Ctrl-C, or being told to terminate, makes. The second time, the command ends at once.
pub(crate) fn stop(said: &'static str) -> Result<Stop> {
    let stop = Stop::new();
    let wish = stop.clone();
    let handler = move || {
        if wish.is_requested() {
            std::process::exit(EXIT_CODE.into());
        }
        note(said);
        wish.request();
    };
    ctrlc::set_handler(handler).context("cannot listen for Ctrl-C")?;
    Ok(stop)
}
