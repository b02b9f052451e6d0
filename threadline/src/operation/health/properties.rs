//! What a function is declared to be, beside its text: its language, what it may assume, with whose rights and settings it runs.

use std::collections::BTreeSet;

/// One form for what a migration declares and for what the catalog has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Properties {
    language: String,
    /// `pg_proc.provolatile`.
    volatility: char,
    /// `pg_proc.proparallel`.
    parallel: char,
    is_strict: bool,
    is_definer: bool,
    /// `name=value`, the name in lower case.
    settings: BTreeSet<String>,
}

impl Properties {
    /// What the text of a CREATE FUNCTION before the body says.
    pub(super) fn declared(header: &str) -> Self {
        let header: Vec<&str> = header.lines().filter(|line| !line.trim_start().starts_with("--")).collect();
        let header = header.join("\n");
        let words: Vec<&str> = header.split_whitespace().collect();
        let has = |phrase: &[&str]| words.windows(phrase.len()).any(|words| words == phrase);
        let after =
            |word: &str| words.iter().position(|w| *w == word).and_then(|at| words.get(at + 1).copied());
        let settings = header.split_inclusive('\n').flat_map(|line| line.split(" SET ")).filter_map(|part| {
            let part = part.trim();
            let (name, value) = part.strip_prefix("SET ").unwrap_or(part).split_once(" = ")?;
            name.chars()
                .all(|c| c.is_ascii_alphanumeric() || c == '_')
                .then(|| setting(name, value.trim_matches('\'')))
        });
        Self {
            language: after("LANGUAGE").unwrap_or_default().to_owned(),
            volatility: if has(&["IMMUTABLE"]) {
                'i'
            } else if has(&["STABLE"]) {
                's'
            } else {
                'v'
            },
            parallel: if has(&["PARALLEL", "SAFE"]) { 's' } else { 'u' },
            is_strict: has(&["STRICT"]),
            is_definer: has(&["SECURITY", "DEFINER"]),
            settings: settings.collect(),
        }
    }

    /// `language`, then `provolatile`, `proparallel`, and `t` or `f` for STRICT and SECURITY DEFINER; and `proconfig`.
    pub(super) fn deployed(language: &str, flags: &str, settings: &[String]) -> Self {
        let mut flags = flags.chars();
        let mut next = || flags.next().unwrap_or_default();
        Self {
            language: language.to_owned(),
            volatility: next(),
            parallel: next(),
            is_strict: next() == 't',
            is_definer: next() == 't',
            settings: settings
                .iter()
                .filter_map(|setting| setting.split_once('='))
                .map(|(name, value)| setting(name, value))
                .collect(),
        }
    }

    /// What differs, in words.
    pub(super) fn differences(&self, shipped: &Self) -> Vec<&'static str> {
        [
            (self.language != shipped.language, "its language"),
            (self.volatility != shipped.volatility, "its volatility"),
            (self.parallel != shipped.parallel, "whether it runs in parallel"),
            (self.is_strict != shipped.is_strict, "what it does for NULL (STRICT)"),
            (self.is_definer != shipped.is_definer, "with whose rights it runs"),
            (self.settings != shipped.settings, "the settings it runs with"),
        ]
        .into_iter()
        .filter_map(|(differs, what)| differs.then_some(what))
        .collect()
    }
}

fn setting(name: &str, value: &str) -> String {
    format!("{}={value}", name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_is_read_in_whatever_order_it_was_written() {
        let header = "CREATE OR REPLACE FUNCTION threadline.f(a text DEFAULT 'STRICT = x', OUT b text) RETURNS text\n\
            -- VOLATILE it is not; SET jit = on neither.\nLANGUAGE sql STABLE STRICT\nSECURITY DEFINER SET search_path = pg_catalog, pg_temp SET TimeZone = 'UTC'\n\
            SET jit = off";
        let deployed = |flags: &str, settings: &[&str]| {
            Properties::deployed("sql", flags, &settings.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
        };
        let settings = ["TimeZone=UTC", "search_path=pg_catalog, pg_temp", "jit=off"];
        assert_eq!(Properties::declared(header).differences(&deployed("sutt", &settings)), [""; 0]);
        for (flags, settings) in [
            ("vutt", &settings[..]),
            ("sstt", &settings),
            ("suft", &settings),
            ("sutf", &settings),
            ("sutt", &settings[1..]),
        ] {
            assert_eq!(
                Properties::declared(header).differences(&deployed(flags, settings)).len(),
                1,
                "{flags}"
            );
        }
    }
}
