//! Two texts, word by word.

use std::time::Duration;

use similar::{ChangeTag, TextDiff};

use super::{AT_MOST, Cell, Mark, Piece};
use crate::surface::value::{Kind, shown};

/// A stretch that is the same on both sides is folded when it is longer than this, but for its ends.
const SAME: usize = 160;

/// Characters of a folded stretch that stay at each end.
const ENDS: usize = 48;

/// Both sides with what is only there; `None` where that would say less than the texts by themselves: they are too long, or
/// have next to nothing in common.
pub(super) fn compared(old: &str, new: &str) -> Option<(Cell, Cell)> {
    if old.is_empty() || new.is_empty() || old.len().max(new.len()) > AT_MOST {
        return None;
    }
    let diff = TextDiff::configure().timeout(Duration::from_millis(50)).diff_words(old, new);
    if diff.ratio() < 0.2 {
        return None;
    }
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for change in diff.iter_all_changes() {
        match change.tag() {
            ChangeTag::Equal => {
                add(&mut before, Mark::Same, change.value());
                add(&mut after, Mark::Same, change.value());
            }
            ChangeTag::Delete => add(&mut before, Mark::Only, change.value()),
            ChangeTag::Insert => add(&mut after, Mark::Only, change.value()),
        }
    }
    let cell = |pieces: Vec<Piece>| Cell { kind: Kind::Text, pieces: folded(pieces), rest: None };
    Some((cell(before), cell(after)))
}

fn add(pieces: &mut Vec<Piece>, mark: Mark, text: &str) {
    match pieces.last_mut() {
        Some(last) if last.mark == mark => last.text.push_str(text),
        _ => pieces.push(Piece { mark, text: text.to_owned() }),
    }
}

fn folded(pieces: Vec<Piece>) -> Vec<Piece> {
    let mut all = Vec::with_capacity(pieces.len());
    for piece in pieces {
        let characters = piece.text.chars().count();
        if piece.mark != Mark::Same || characters <= SAME {
            all.push(Piece { text: shown(&piece.text), ..piece });
            continue;
        }
        let head: String = piece.text.chars().take(ENDS).collect();
        let tail: String = piece.text.chars().skip(characters - ENDS).collect();
        all.push(Piece { mark: Mark::Same, text: shown(&head) });
        all.push(Piece {
            mark: Mark::Folded,
            text: format!("{} characters unchanged", characters - 2 * ENDS),
        });
        all.push(Piece { mark: Mark::Same, text: shown(&tail) });
    }
    all
}
