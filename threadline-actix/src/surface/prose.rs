//! Sentences of the library's, whose names stand between backticks.

use super::value::shown;

/// A sentence in pieces.
#[derive(Clone, Debug)]
pub(super) struct Prose(pub(super) Vec<Span>);

/// A stretch of a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Span {
    /// A name: of a table, a setting, a command.
    pub(super) code: bool,
    pub(super) text: String,
}

impl Prose {
    /// A sentence; what is in it of stored names is made visible. A backtick without its partner stands for itself.
    pub(super) fn new(sentence: &str) -> Self {
        let mut spans = Vec::new();
        let mut rest = sentence;
        while let Some((plain, name, after)) = rest
            .split_once('`')
            .and_then(|(plain, after)| after.split_once('`').map(|(name, after)| (plain, name, after)))
        {
            spans.push(Span { code: false, text: shown(plain) });
            spans.push(Span { code: true, text: shown(name) });
            rest = after;
        }
        spans.push(Span { code: false, text: shown(rest) });
        spans.retain(|span| !span.text.is_empty());
        Self(spans)
    }

    /// As it stands alone: with a capital letter and a full stop.
    pub(super) fn sentence(text: &str) -> Self {
        let mut letters = text.chars();
        let capital: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
        let stop = if text.ends_with('.') { "" } else { "." };
        Self::new(&format!("{capital}{}{stop}", letters.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use super::{Prose, Span};

    #[test]
    fn names_between_backticks_are_told_apart_and_a_lone_backtick_is_kept() {
        let spans = |text: &str| {
            let Prose(spans) = Prose::new(text);
            spans.into_iter().map(|Span { code, text }| (code, text)).collect::<Vec<_>>()
        };
        let owned = |spans: &[(bool, &str)]| {
            spans.iter().map(|&(code, text)| (code, text.to_owned())).collect::<Vec<_>>()
        };
        assert_eq!(spans("`a` is b; see `c`"), owned(&[(true, "a"), (false, " is b; see "), (true, "c")]));
        assert_eq!(spans("a ` b"), owned(&[(false, "a ` b")]));
        assert_eq!(spans(""), owned(&[]));
    }
}
