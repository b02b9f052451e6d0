//! How far a long command has come, for whoever watches it.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::output::Output;

/// A line on standard error, if that is a terminal and standard output is none: the two would write over each other.
pub(crate) struct Progress(Option<ProgressBar>);

impl Progress {
    /// Nothing is shown.
    pub(crate) fn none() -> Self {
        Self(None)
    }

    /// Counts what is `called` so.
    pub(crate) fn begin(output: &Output, called: &str) -> Self {
        if output.is_terminal() {
            return Self::none();
        }
        Self::to_terminal(called)
    }

    /// As [`begin`](Self::begin), when nothing goes to standard output.
    pub(crate) fn to_terminal(called: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self::none();
        }
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()).tick_chars("|/-\\ "));
        bar.set_message(called.to_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(Some(bar))
    }

    /// So many by now.
    pub(crate) fn at(&self, count: u64) {
        if let Some(bar) = &self.0 {
            bar.set_message(HumanCount(count).to_string());
        }
    }

    /// So many by now, of what is called so.
    pub(crate) fn say(&self, text: impl FnOnce() -> String) {
        if let Some(bar) = &self.0 {
            bar.set_message(text());
        }
    }

    /// Takes the line away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

/// Also when a command fails, so that its message stands on a line of its own.
impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}
