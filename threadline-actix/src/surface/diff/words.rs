//! Two texts, word by word.

use std::time::Instant;

use similar::{ChangeTag, TextDiff};

use super::{AT_MOST, Mark, Piece};
use crate::surface::value::shown;

/// A stretch that is the same on both sides is folded when it is longer than this, but for its ends.
const SAME: usize = 160;

/// Characters of a folded stretch that stay at each end, at most: it is cut between words.
const ENDS: usize = 48;

/// Both sides of a text.
pub(super) struct Compared {
    pub(super) before: Vec<Piece>,
    pub(super) after: Vec<Piece>,
    /// The same without a fold, where there is one.
    pub(super) whole: Option<(Vec<Piece>, Vec<Piece>)>,
}

/// Both sides with what is only there; `None` where that would say less than the texts by themselves: they are too long, or
/// have next to nothing in common.
pub(super) fn compared(old: &str, new: &str, until: Instant) -> Option<Compared> {
    if old.is_empty() || new.is_empty() || old.len().max(new.len()) > AT_MOST {
        return None;
    }
    let diff = TextDiff::configure().deadline(until).diff_words(old, new);
    if diff.ratio() < 0.2 {
        return None;
    }
    let mut stretches: Vec<(ChangeTag, String)> = Vec::new();
    for change in diff.iter_all_changes() {
        match stretches.last_mut() {
            Some((tag, text)) if *tag == change.tag() => text.push_str(change.value()),
            _ => stretches.push((change.tag(), change.value().to_owned())),
        }
    }
    let is_folded = |(tag, text): &(ChangeTag, String)| *tag == ChangeTag::Equal && fold(text).is_some();
    let (before, after) = sides(&stretches, true);
    let whole = stretches.iter().any(is_folded).then(|| sides(&stretches, false));
    Some(Compared { before, after, whole })
}

/// Both sides; what they have in common is folded alike on both.
fn sides(stretches: &[(ChangeTag, String)], folded: bool) -> (Vec<Piece>, Vec<Piece>) {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for (tag, text) in stretches {
        let only = || Piece { mark: Mark::Only, text: shown(text) };
        match tag {
            ChangeTag::Delete => before.push(only()),
            ChangeTag::Insert => after.push(only()),
            ChangeTag::Equal => {
                let whole = || vec![Piece { mark: Mark::Same, text: shown(text) }];
                let pieces = if folded { fold(text).unwrap_or_else(whole) } else { whole() };
                before.extend(pieces.iter().cloned());
                after.extend(pieces);
            }
        }
    }
    (before, after)
}

/// A long stretch without its middle; `None` for one that is short.
fn fold(text: &str) -> Option<Vec<Piece>> {
    let characters = text.chars().count();
    if characters <= SAME {
        return None;
    }
    let at = |place: usize| text.char_indices().nth(place).map_or(text.len(), |(at, _)| at);
    let (head, tail) = (&text[..at(ENDS)], &text[at(characters - ENDS)..]);
    // A word longer than that is cut all the same.
    let head = head.rfind(char::is_whitespace).map_or(head, |end| &head[..end]);
    let tail = tail.find(char::is_whitespace).map_or(tail, |start| &tail[start..]);
    let left_out = characters - head.chars().count() - tail.chars().count();
    Some(vec![
        Piece { mark: Mark::Same, text: shown(head) },
        Piece { mark: Mark::Folded, text: format!("{left_out} characters unchanged") },
        Piece { mark: Mark::Same, text: shown(tail) },
    ])
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Compared, Mark, Piece, compared};

    fn written(pieces: &[Piece]) -> String {
        let written = pieces.iter().map(|piece| match piece.mark {
            Mark::Folded => format!("<{}>", piece.text),
            _ => piece.text.clone(),
        });
        written.collect()
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_long_stretch_is_cut_between_words_and_alike_on_both_sides_and_can_be_had_whole() {
        let common = "lorem ipsum dolor sit amet ".repeat(8);
        // On the side where nothing stands between them, the two stretches follow one another.
        let (old, new) = (format!("{common}{common}end"), format!("{common}inserted {common}end"));
        let Compared { before, after, whole } = compared(&old, &new, later()).unwrap();
        let folded = |pieces: &[Piece]| -> Vec<String> {
            let folds = pieces.iter().filter(|piece| piece.mark == Mark::Folded);
            folds.map(|piece| piece.text.clone()).collect()
        };
        assert_eq!(folded(&before).len(), 2);
        assert_eq!(folded(&before), folded(&after));
        for piece in before.iter().chain(&after).filter(|piece| piece.mark == Mark::Same) {
            let words = ["lorem", "ipsum", "dolor", "sit", "amet", "end"];
            assert!(piece.text.split_whitespace().all(|word| words.contains(&word)), "{}", piece.text);
        }
        let (before, after) = whole.unwrap();
        assert_eq!((written(&before), written(&after)), (old, new));
    }

    #[test]
    fn a_short_text_is_whole_at_once() {
        let Compared { before, after, whole } = compared("one two three", "one 2 three", later()).unwrap();
        assert_eq!((written(&before).as_str(), written(&after).as_str()), ("one two three", "one 2 three"));
        assert!(whole.is_none());
    }
}
