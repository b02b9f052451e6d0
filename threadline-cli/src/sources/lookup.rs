//! Which `table!` a model means, told from paths alone.

use std::slice;

use syn::Path;
use syn::ext::IdentExt;

use super::{Found, Place, Sources, TableDeclaration};

impl Sources {
    /// The declaration that `path`, the `table_name` of a model at `place`, leads to; `None` when none has its name.
    ///
    /// A path that leads there from the model's own module decides. What `use` brings into scope is not followed: then
    /// it is the declaration whose full path ends most like `path`, one of the same package before others.
    ///
    /// # Errors
    ///
    /// A message for the user, when declarations that differ fit equally well.
    pub(crate) fn table_of(
        &self,
        path: &Path,
        place: &Place,
    ) -> Result<Option<&Found<TableDeclaration>>, String> {
        let wanted: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.unraw().to_string()).collect();
        let exact = from_root(&wanted, &place.module);
        let fit = |table: &Found<TableDeclaration>| {
            let full = [table.place.module.as_slice(), slice::from_ref(&table.item.ident)].concat();
            let is_near = table.place.package == place.package;
            let common =
                full.iter().rev().zip(wanted.iter().rev()).take_while(|(left, right)| left == right).count();
            (common > 0).then_some((is_near && full == exact, common, is_near))
        };
        let Some(best) = self.tables.iter().filter_map(fit).max() else { return Ok(None) };
        let mut fitting = self.tables.iter().filter(|table| fit(table) == Some(best));
        let first = fitting.next();
        match (first, fitting.find(|other| first.is_some_and(|first| first.item != other.item))) {
            (Some(first), Some(other)) => Err(format!(
                "{place}: `{}` may be the `table!` at {} or {}; write its path in `#[diesel(table_name = ..)]`",
                wanted.join("::"),
                first.place,
                other.place
            )),
            _ => Ok(first),
        }
    }
}

/// `path`, written in `module`, as seen from the root of its crate.
fn from_root(path: &[String], module: &[String]) -> Vec<String> {
    match path {
        [first, rest @ ..] if first == "crate" => rest.to_vec(),
        [first, rest @ ..] if first == "self" => from_root(rest, module),
        [first, rest @ ..] if first == "super" => {
            from_root(rest, module.split_last().map_or(&[], |(_, above)| above))
        }
        _ => [module, path].concat(),
    }
}
