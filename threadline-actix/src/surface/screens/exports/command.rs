//! The command line that exports the same, safe to be pasted into a shell.

use threadline::{ExportFormat, Filter, is_unseen};

use crate::surface::command::quoted;
use crate::surface::window::Window;

/// `threadline export …`; empty where the filter has something in it that a terminal would obey or not show.
pub(super) fn export(filter: &Filter, window: Window, format: ExportFormat) -> String {
    let mut flags = filter.pairs();
    match window {
        Window::Last(_) => flags.push(("from", window.name().to_owned())),
        Window::All => {}
        Window::Exact { .. } => flags.extend(window.pairs(Window::All)),
    }
    let is_plain_text = |text: &str| !text.chars().any(is_unseen);
    if !flags.iter().all(|(_, value)| is_plain_text(value)) {
        return String::new();
    }
    let flags: String = flags
        .iter()
        .map(|(name, value)| format!(" --{}={}", name.replace('_', "-"), quoted(value)))
        .collect();
    format!("threadline export{flags} --all --output export.{}", format.extension())
}

#[cfg(test)]
mod tests {
    use threadline::{ExportFormat, Filter};

    use super::export;
    use crate::surface::window::{Span, Window};

    #[test]
    fn a_value_is_one_word_whatever_is_in_it_or_there_is_no_command() {
        let command =
            |action: &str| export(&Filter::new().action(action), Window::Last(Span::Week), ExportFormat::Csv);
        assert_eq!(
            command("post.published"),
            "threadline export --action=post.published --from=7d --all --output export.csv"
        );
        assert_eq!(
            command("a'; rm -rf $(b) `c` \"d\" \\"),
            "threadline export --action='a'\\''; rm -rf $(b) `c` \"d\" \\' --from=7d --all --output export.csv"
        );
        for unseen in ["a\nb", "a\u{202e}b", "a\u{200b}b"] {
            assert_eq!(command(unseen), "");
        }
    }
}
