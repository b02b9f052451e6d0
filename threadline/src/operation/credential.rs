//! How a credential is told from other texts, where none has a place.

/// Parts of names that credentials go by, in one spelling.
const CREDENTIALS: [&str; 13] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "accesskey",
    "apikey",
    "privatekey",
    "credential",
    "databaseurl",
    "connectionstring",
    "dsn",
];

/// Whether a key's name says that its value is a credential.
pub(crate) fn names_credential(key: &str) -> bool {
    let plain: String = key.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    CREDENTIALS.iter().any(|credential| plain.contains(credential))
}

/// Whether a text has a URL with a user or a password in it, as `postgres://me:mine@db`.
pub(crate) fn has_userinfo(text: &str) -> bool {
    text.match_indices("://").any(|(at, separator)| {
        let after = &text[at + separator.len()..];
        let end =
            after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#')).unwrap_or(after.len());
        after[..end].contains('@')
    })
}
