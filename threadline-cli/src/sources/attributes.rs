//! Attributes as the compiler would see them, as far as that can be told without its settings.

use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, Path, Token};

/// `attrs` with each `cfg_attr(predicate, ..)` replaced by what it holds, as if every predicate but `test` were true.
pub(crate) fn without_cfg_attr(attrs: &[Attribute]) -> Vec<Attribute> {
    attrs.iter().flat_map(|attr| expand(attr, &attr.meta)).collect()
}

fn expand(attr: &Attribute, meta: &Meta) -> Vec<Attribute> {
    match nested(meta, "cfg_attr").as_deref() {
        Some([predicate, held @ ..]) if !needs_test(predicate) => {
            held.iter().flat_map(|meta| expand(attr, meta)).collect()
        }
        Some(_) => Vec::new(),
        None => vec![Attribute { meta: meta.clone(), ..attr.clone() }],
    }
}

/// Whether `#[derive(..)]` names `Audited`, by whatever path: a model too many is seen in review, one too few is not.
pub(crate) fn derives_audited(attrs: &[Attribute]) -> bool {
    let derives = attrs.iter().filter(|attr| attr.path().is_ident("derive"));
    let mut paths = derives
        .filter_map(|attr| attr.parse_args_with(Punctuated::<Path, Token![,]>::parse_terminated).ok())
        .flatten();
    paths.any(|path| path.segments.last().is_some_and(|name| name.ident == "Audited"))
}

/// Whether the item is there in tests only.
pub(crate) fn is_for_tests(attrs: &[Attribute]) -> bool {
    attrs
        .iter()
        .filter_map(|attr| nested(&attr.meta, "cfg"))
        .any(|predicates| predicates.iter().any(needs_test))
}

fn needs_test(predicate: &Meta) -> bool {
    predicate.path().is_ident("test")
        || nested(predicate, "all").is_some_and(|parts| parts.iter().any(needs_test))
}

/// The parts of `name(part, ..)`.
fn nested(meta: &Meta, name: &str) -> Option<Vec<Meta>> {
    let Meta::List(list) = meta else { return None };
    let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated);
    list.path.is_ident(name).then(|| parts.map(|parts| parts.into_iter().collect()).unwrap_or_default())
}
