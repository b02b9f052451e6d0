//! Links from one page to another: relative, so that they hold under any mount and behind any proxy.

use url::form_urlencoded::Serializer;

/// A path below the mount with its query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    path: String,
    pairs: Vec<(String, String)>,
}

impl Link {
    /// To the page at this path, without a leading `/`.
    pub(super) fn to(path: impl Into<String>) -> Self {
        Self { path: path.into(), pairs: Vec::new() }
    }

    /// The same question to another page.
    pub(super) fn under(self, path: impl Into<String>) -> Self {
        Self { path: path.into(), ..self }
    }

    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.pairs.push((name.into(), value.into()));
        self
    }

    pub(super) fn with_all<N: Into<String>, V: Into<String>>(
        mut self,
        pairs: impl IntoIterator<Item = (N, V)>,
    ) -> Self {
        self.pairs.extend(pairs.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// What it asks, as an address has it after the `?`.
    pub(super) fn question(&self) -> String {
        Serializer::new(String::new()).extend_pairs(&self.pairs).finish()
    }

    /// As it is written on a page `root` leads away from to the mount.
    pub(super) fn from(&self, root: &str) -> String {
        let mut href = format!("{root}{}", self.path);
        if !self.pairs.is_empty() {
            href.push('?');
            href.push_str(&self.question());
        }
        href
    }
}
