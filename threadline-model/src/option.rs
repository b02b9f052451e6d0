//! The options of `#[threadline(..)]`: their names, how each is written, and what a name that is none of them meant.

/// Every option as it is written, in the order the documentation lists them.
const USAGES: [(&str, &str); 9] = [
    ("exclude", "exclude(column, ..)"),
    ("mask", "mask(column, ..)"),
    ("mask_placeholder", "mask_placeholder = \"..\""),
    ("ignore", "ignore(column, ..)"),
    ("key", "key(column, ..)"),
    ("scope", "scope(column)"),
    ("schema", "schema = \"..\""),
    ("on_truncate", "on_truncate = \"record|keep|refuse\""),
    ("actor_policy", "actor_policy = \"allow|require\""),
];

/// Names that other libraries use, or a reader may expect, too far from ours for [`distance`] to find.
const OTHER_NAMES: [(&str, &[&str]); 8] = [
    ("exclude", &["except", "except_columns", "skip", "omit", "drop", "hide", "without", "private"]),
    ("mask", &["redact", "redacted", "obfuscate", "sensitive", "secret", "filter"]),
    ("mask_placeholder", &["placeholder", "mask_with", "mask_text", "redact_with"]),
    ("ignore", &["ignore_columns", "unaudited"]),
    ("key", &["pk", "pkey", "primary_key", "primary_keys", "primary", "id", "identity"]),
    ("scope", &["tenant", "tenant_id", "organization", "scoped_by"]),
    ("on_truncate", &["truncate", "truncate_policy"]),
    ("actor_policy", &["actor", "require_actor"]),
];

/// How the option `name` is written; `None` when there is no such option.
pub(crate) fn usage(name: &str) -> Option<&'static str> {
    USAGES.into_iter().find_map(|(known, usage)| (known == name).then_some(usage))
}

/// What to say about `name`, which is no option.
pub(crate) fn unknown(name: &str) -> String {
    if let "table" | "table_name" = name {
        return format!("unknown option `{name}`; the table is named by `#[diesel(table_name = ..)]`");
    }
    match meant(name).and_then(usage) {
        Some(usage) => format!("unknown option `{name}`; did you mean `{usage}`?"),
        None => {
            let usages: Vec<String> = USAGES.iter().map(|(_, usage)| format!("`{usage}`")).collect();
            format!("unknown option `{name}`; expected one of {}", usages.join(", "))
        }
    }
}

fn meant(name: &str) -> Option<&'static str> {
    let other = OTHER_NAMES.into_iter().find_map(|(known, others)| others.contains(&name).then_some(known));
    other.or_else(|| {
        let near = USAGES.into_iter().map(|(known, _)| (distance(known, name), known)).min()?;
        (near.0 <= 2).then_some(near.1)
    })
}

/// How many characters must be inserted, removed or replaced to make one of the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.chars().count()).collect();
    for (line, left) in left.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = line + 1;
        for (column, right) in right.chars().enumerate() {
            let replaced = diagonal + usize::from(left != right);
            diagonal = row[column + 1];
            row[column + 1] = replaced.min(row[column] + 1).min(diagonal + 1);
        }
    }
    row[row.len() - 1]
}
