//! The colours, each for one meaning. They only underline what the text says too.

use anstyle::{AnsiColor, Style};

/// What a block is about.
pub(crate) const HEADING: Style = Style::new().bold();
/// What is there to be copied, and seldom read.
pub(crate) const DIM: Style = Style::new().dimmed();
/// Came to be; went well.
pub(crate) const GOOD: Style = AnsiColor::Green.on_default();
/// Is gone; went wrong.
pub(crate) const BAD: Style = AnsiColor::Red.on_default();
/// Something to know before believing the rest.
pub(crate) const NOTE: Style = AnsiColor::Yellow.on_default();
