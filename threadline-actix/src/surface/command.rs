//! Commands to copy: written so that a shell takes each word as it is.

use super::value::shown;

/// The words as a POSIX shell takes them; `None` where one has in it what had better not be pasted unseen, or would be taken for
/// an option.
pub(super) fn command<W: AsRef<str>>(words: &[&str], values: impl IntoIterator<Item = W>) -> Option<String> {
    let mut line = words.join(" ");
    for value in values {
        let value = value.as_ref();
        if value.is_empty() || value.starts_with('-') || value.contains(['\n', '\t']) || shown(value) != value
        {
            return None;
        }
        line.push(' ');
        line.push_str(&quoted(value));
    }
    Some(line)
}

/// A text as one word of a POSIX shell.
pub(super) fn quoted(text: &str) -> String {
    let is_plain = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._=:@%+,-/".contains(&byte));
    if is_plain { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

#[cfg(test)]
mod tests {
    use super::command;

    #[test]
    fn a_value_is_one_word_whatever_is_in_it_or_there_is_no_command() {
        let undo = |value: &str| command(&["threadline", "undo", "--correlation"], [value]);
        let line = |word: &str| Some(format!("threadline undo --correlation {word}"));
        assert_eq!(undo("import-7"), line("import-7"));
        assert_eq!(undo("a b; rm"), line("'a b; rm'"));
        assert_eq!(undo("it's $HOME"), line(r"'it'\''s $HOME'"));
        for refused in ["", "-x", "a\nb", "a\u{202e}b", "\u{7}"] {
            assert_eq!(undo(refused), None, "{refused:?}");
        }
    }
}
