//! Names of files in a storage.

use std::fmt;
use std::str::FromStr;

use object_store::path::Path;

/// The name of a file in a storage, such as `exports/0197f2c4-….1.csv`.
///
/// Parts of lower-case letters, digits, `.`, `-` and `_`, each beginning with a letter or a digit, separated by `/`; 200 bytes
/// at most. So it never leaves the storage, is never an option or a hidden file, and means the same in a directory and in a
/// bucket. Names are made by programs, of ids and numbers; nothing a user writes belongs into one.
///
/// ```
/// use threadline_worker::ObjectName;
///
/// assert!("exports/0197f2c4.1.csv".parse::<ObjectName>().is_ok());
/// for odd in ["", "/etc/passwd", "exports/../x", "exports//x", "exports/.x", "a\\b", "%2e%2e/x", "x#1", "ü", "x/"] {
///     assert!(odd.parse::<ObjectName>().is_err(), "{odd}");
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectName(String);

/// A text is not the name of an object; the text is not quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidObjectName;

impl fmt::Display for InvalidObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not the name of an object: it has parts of lower-case letters, digits, `.`, `-`, `_`, separated by `/`")
    }
}

impl std::error::Error for InvalidObjectName {}

impl ObjectName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn below(&self, prefix: &Path) -> Path {
        self.0.split('/').fold(prefix.clone(), Path::join)
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ObjectName {
    type Err = InvalidObjectName;

    fn from_str(text: &str) -> Result<Self, InvalidObjectName> {
        let is_part = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_lowercase() || first.is_ascii_digit())
                && part.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_'))
        };
        if text.len() <= 200 && text.split('/').all(is_part) {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidObjectName)
        }
    }
}
