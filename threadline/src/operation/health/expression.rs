//! Whether two expressions say the same, one as a migration has it and one as PostgreSQL writes it out again.
//!
//! What is written out has casts, parentheses and other spellings of IN and BETWEEN, and not those of every release are alike.
//! So what is compared is what it says of which names: the constants in their order, and the words and operators it uses.

use std::collections::BTreeSet;

/// What an expression says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Meaning {
    constants: Vec<String>,
    words: BTreeSet<String>,
}

/// Reads an expression of either form.
pub(super) fn meaning(expression: &str) -> Meaning {
    let mut meaning = Meaning::default();
    let mut rest = expression;
    let mut negated = false;
    while let Some(first) = rest.chars().next() {
        let length = if first == '\'' {
            let length = quoted(rest, '\'');
            meaning.constants.push(unquoted(&rest[1..length], '\'').replace("''", "'"));
            length
        } else if let Some(cast) = rest.strip_prefix("::") {
            2 + type_length(cast)
        } else if first.is_ascii_digit() {
            let length = length_while(rest, |c| c.is_ascii_digit() || c == '.');
            meaning.constants.push(rest[..length].to_owned());
            length
        } else if first == '"' {
            let length = quoted(rest, '"');
            meaning.words.insert(unquoted(&rest[1..length], '"').to_owned());
            length
        } else if is_word(first) {
            let length = length_while(rest, is_word);
            let word = rest[..length].to_ascii_lowercase();
            match word.as_str() {
                "in" => drop(meaning.words.insert(if negated { "<>" } else { "=" }.to_owned())),
                "between" => meaning.words.extend([">=".to_owned(), "<=".to_owned()]),
                // How IN is written out; and what BETWEEN and lists bring along.
                "any" | "all" | "array" | "and" | "not" => {}
                _ => drop(meaning.words.insert(word.clone())),
            }
            negated = word == "not";
            length
        } else if is_operator(first) {
            let length = length_while(rest, is_operator);
            meaning.words.insert(rest[..length].to_owned());
            length
        } else {
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    meaning
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn is_operator(c: char) -> bool {
    "<>=!~@#%^&|?+-*/".contains(c)
}

fn length_while(text: &str, holds: impl Fn(char) -> bool) -> usize {
    text.find(|c| !holds(c)).unwrap_or(text.len())
}

/// The length of what is quoted, with its quotes; a doubled one stands for itself.
fn quoted(text: &str, quote: char) -> usize {
    let mut at = 1;
    while let Some(end) = text[at..].find(quote) {
        at += end + 1;
        if !text[at..].starts_with(quote) {
            return at;
        }
        at += 1;
    }
    text.len()
}

fn unquoted(text: &str, quote: char) -> &str {
    text.strip_suffix(quote).unwrap_or(text)
}

/// The length of a type after `::`.
fn type_length(text: &str) -> usize {
    const LONG: [&str; 4] =
        ["timestamp with time zone", "timestamp without time zone", "character varying", "double precision"];
    let name = if text.starts_with('"') {
        quoted(text, '"')
    } else {
        let long = LONG.iter().find(|long| text.starts_with(**long)).map(|long| long.len());
        long.unwrap_or_else(|| length_while(text, |c| is_word(c) || c == '.'))
    };
    name + length_while(&text[name..], |c| c == '[' || c == ']')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_postgresql_writes_out_says_what_was_written() {
        for (written, written_out) in [
            ("a IN ('x', 'it''s')", "(a = ANY (ARRAY['x'::text, 'it''s'::text]))"),
            ("a NOT IN ('x')", "(a <> ALL (ARRAY['x'::text]))"),
            ("n BETWEEN 1 AND 100", "((n >= 1) AND (n <= 100))"),
            (
                "at BETWEEN '1970-01-01 00:00:00+00' AND '9999-12-31 00:00:00+00'",
                "((at >= '1970-01-01 00:00:00+00'::timestamp with time zone) AND (at <= '9999-12-31 00:00:00+00'::timestamp with time zone))",
            ),
            ("(a IS NULL) = (b IS NULL) AND rows >= 0", "(((a IS NULL) = (b IS NULL)) AND (\"rows\" >= 0))"),
            ("'running'", "'running'::text"),
        ] {
            assert_eq!(meaning(written), meaning(written_out), "{written}");
        }
    }

    #[test]
    fn what_says_something_else_is_told_apart() {
        let shipped = meaning("a IN ('x', 'y')");
        for other in [
            "true",
            "a IN ('x')",
            "a IN ('x', 'y', 'z')",
            "a IN ('x', 'y') OR true",
            "b IN ('x', 'y')",
            "a NOT IN ('x', 'y')",
            "a IN ('x', 'y') OR a IS NOT NULL",
        ] {
            assert_ne!(meaning(other), shipped, "{other}");
        }
        assert_ne!(meaning("a >= b"), meaning("a <= b"));
        assert_ne!(
            meaning("clock_timestamp()"),
            meaning("'2000-01-01 00:00:00+00'::timestamp with time zone")
        );
        // Broken ones end too.
        for broken in ["'", "\"", "::", "a::", "é'é"] {
            let _ = meaning(broken);
        }
    }
}
