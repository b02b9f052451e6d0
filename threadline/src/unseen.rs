//! Characters that nobody sees: what a text is shown as has to say that they are there.

/// Whether a character is not seen, or turns the direction in which others are written: control characters, format characters,
/// blanks and fillers that have no width or look like a space in no font of text, and what selects variants of others.
///
/// Space, no-break space and the blanks of typography are seen, as blanks; tab and line feed are control characters.
///
/// ```
/// use threadline::is_unseen;
/// assert!(is_unseen('\u{202e}') && is_unseen('\u{200b}') && is_unseen('\r') && is_unseen('\u{3164}'));
/// assert!(!is_unseen(' ') && !is_unseen('é') && !is_unseen('漢'));
/// ```
///
/// Source: the properties `General_Category` (Cc, Cf but for marks that are seen, Zl, Zp) and `Default_Ignorable_Code_Point` of
/// the Unicode Character Database, <https://www.unicode.org/Public/UCD/latest/ucd/DerivedCoreProperties.txt>.
pub fn is_unseen(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{ad}'
                | '\u{34f}'
                | '\u{61c}'
                | '\u{115f}'..='\u{1160}'
                | '\u{17b4}'..='\u{17b5}'
                | '\u{180b}'..='\u{180f}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{fe00}'..='\u{fe0f}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff0}'..='\u{fffb}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}
