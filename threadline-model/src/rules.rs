//! The rules between the options of a model, and on the texts they hold.

use std::collections::HashSet;

use syn::ext::IdentExt;
use syn::{Error, Ident, LitStr};

use crate::model::AuditedModel;

/// Checks what was read; `seen` names every option that was given, be it wrongly: those have been reported on.
pub(crate) fn check(model: &AuditedModel, seen: &HashSet<String>, errors: &mut Vec<Error>) {
    let key = if seen.contains("key") { model.key.as_slice() } else { &model.primary_key };
    for (columns, treatment) in
        [(&model.exclude, "excluded"), (&model.mask, "masked"), (&model.ignore, "ignored")]
    {
        errors.extend(columns.iter().filter_map(|column| {
            let problem = conflict(model, key, column, treatment)?;
            Some(Error::new(column.span(), format!("column `{}` {problem}", column.unraw())))
        }));
    }
    if let Some(placeholder) = &model.mask_placeholder {
        if !seen.contains("mask") {
            let problem = "nothing is masked: `mask_placeholder` needs a `mask(column, ..)`";
            errors.push(Error::new(placeholder.span(), problem));
        }
        errors.extend(check_placeholder(placeholder));
    }
    errors.extend(model.schema.as_ref().and_then(check_schema));
}

/// The first rule that `column` breaks by being excluded, masked or ignored.
fn conflict(model: &AuditedModel, key: &[Ident], column: &Ident, treatment: &str) -> Option<String> {
    let is_scope = model.scope.as_ref().is_some_and(|scope| same(scope, column));
    if contains(key, column) {
        Some(format!("is part of the key, so it cannot be {treatment}: it tells the rows apart"))
    } else if is_scope {
        Some(format!("is the scope, so it cannot be {treatment}: it is stored beside each change"))
    } else if treatment != "excluded" && contains(&model.exclude, column) {
        Some(format!("is excluded already, so it cannot be {treatment}; remove one of the two"))
    } else if treatment == "ignored" && contains(&model.mask, column) {
        Some(format!("is masked already, so it cannot be {treatment}; remove one of the two"))
    } else {
        None
    }
}

fn check_placeholder(placeholder: &LitStr) -> Option<Error> {
    let text = placeholder.value();
    let fits = (1..=200).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    let expected = "expected a placeholder of 1 to 200 characters, none of them a control character";
    (!fits).then(|| Error::new(placeholder.span(), expected))
}

fn check_schema(schema: &LitStr) -> Option<Error> {
    let name = schema.value();
    let fits = (1..=63).contains(&name.len()) && !name.contains('\0');
    (!fits).then(|| Error::new(schema.span(), "expected the name of a schema: 1 to 63 bytes, no NUL"))
}

pub(crate) fn contains(columns: &[Ident], column: &Ident) -> bool {
    columns.iter().any(|other| same(other, column))
}

/// `r#type` and `type` name one column.
fn same(left: &Ident, right: &Ident) -> bool {
    left.unraw() == right.unraw()
}
