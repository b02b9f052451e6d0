//! What the models ask for, in the names of the database.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use anyhow::{Result, ensure};
use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::{Ident, LitStr};
use threadline::{ActorPolicy, OnTruncate, TableName};
use threadline_model::AuditedModel;

use super::record::Attach;
use crate::sources::{Found, Place, Sources, TableDeclaration, located};

/// One table to be audited.
pub(crate) struct Audit {
    pub(crate) attach: Attach,
    /// The model that says so, and where it is: `Post (src/models.rs:3)`. Of several that agree, the first.
    pub(crate) model: String,
}

/// One audit for each audited table, ordered by table; every mistake of every model if there are any.
pub(crate) fn audits(sources: &Sources) -> Result<BTreeMap<TableName, Audit>> {
    let mut audits: BTreeMap<TableName, Audit> = BTreeMap::new();
    let mut mistakes = Vec::new();
    for Found { item, place } in &sources.models {
        let attach = AuditedModel::from_derive_input(item)
            .map_err(|error| located(&place.file, error))
            .and_then(|model| attach(&model, place, sources));
        let model = format!("{} ({place})", item.ident.unraw());
        match attach {
            Err(found) => mistakes.extend(found),
            Ok(attach) => match audits.entry(attach.table.clone()) {
                Entry::Vacant(vacant) => {
                    vacant.insert(Audit { attach, model });
                }
                Entry::Occupied(other) if other.get().attach.has_policy_of(&attach) => {}
                Entry::Occupied(other) => mistakes.push(format!(
                    "{} and {model} both audit {}, but not alike; give both the same `#[threadline(..)]`",
                    other.get().model,
                    attach.table
                )),
            },
        }
    }
    for (table, audit) in audits.iter().filter(|(table, _)| table.schema() == Some("public")) {
        if let Some(other) = audits.get(&TableName::new(None, table.name())) {
            mistakes.push(format!(
                "{} and {} may audit one table, {table}; name the schema for both or for neither",
                audit.model, other.model
            ));
        }
    }
    ensure!(mistakes.is_empty(), "the models cannot be audited as they are\n{}", mistakes.join("\n"));
    Ok(audits)
}

fn attach(model: &AuditedModel, place: &Place, sources: &Sources) -> Result<Attach, Vec<String>> {
    let declaration = sources.table_of(&model.table, place).map_err(|mistake| vec![mistake])?;
    let mut names = Names { model, place, declaration, mistakes: Vec::new() };
    names.check_key();
    let attach = Attach {
        table: names.table(),
        exclude: names.unordered(&model.exclude),
        mask: names.unordered(&model.mask),
        mask_placeholder: model.mask_placeholder.as_ref().map(LitStr::value),
        ignore: names.unordered(&model.ignore),
        key: model.key.iter().map(|column| names.column(column)).collect(),
        scope: model.scope.as_ref().map(|column| names.column(column)),
        on_truncate: match model.on_truncate {
            threadline_model::OnTruncate::Record => OnTruncate::Record,
            threadline_model::OnTruncate::Keep => OnTruncate::Keep,
            threadline_model::OnTruncate::Refuse => OnTruncate::Refuse,
        },
        actor_policy: match model.actor_policy {
            threadline_model::ActorPolicy::Allow => ActorPolicy::Allow,
            threadline_model::ActorPolicy::Require => ActorPolicy::Require,
        },
        columns: names.all(),
    };
    if names.mistakes.is_empty() { Ok(attach) } else { Err(names.mistakes) }
}

/// Turns the identifiers of one model into names of the database.
struct Names<'a> {
    model: &'a AuditedModel,
    place: &'a Place,
    /// Without one, in the sources at least, identifiers are taken for names.
    declaration: Option<&'a Found<TableDeclaration>>,
    mistakes: Vec<String>,
}

impl Names<'_> {
    /// Without a declared key rows are recorded by the table's primary key, and looked up by the model's.
    fn check_key(&mut self) {
        let model: Vec<String> =
            self.model.primary_key.iter().map(|column| column.unraw().to_string()).collect();
        let Some(Found { item: table, place }) = self.declaration else { return };
        if self.model.key.is_empty() && model != table.primary_key {
            let (model, table) = (model.join(", "), table.primary_key.join(", "));
            let message = format!(
                "the primary key is ({model}) here, but ({table}) in `table!` ({place}); say `#[diesel(primary_key({table}))]`, \
                 or declare a key with `#[threadline(key(..))]`"
            );
            self.mistake(self.model.ident.span(), message);
        }
    }

    fn table(&mut self) -> TableName {
        let declared = self.declaration.and_then(|found| found.item.schema.clone());
        let given = self.model.schema.as_ref().map(LitStr::value);
        if let (Some(literal), Some(declared)) = (&self.model.schema, &declared)
            && given.as_ref() != Some(declared)
        {
            let message =
                format!("`table!` puts this table into the schema {declared:?}; say the same or nothing");
            self.mistake(literal.span(), message);
        }
        let ident = &self.model.table.segments[self.model.table.segments.len() - 1].ident;
        let name =
            self.declaration.map_or_else(|| ident.unraw().to_string(), |found| found.item.sql_name.clone());
        TableName::new(declared.or(given).as_deref(), &name)
    }

    fn column(&mut self, ident: &Ident) -> String {
        let Some(Found { item: table, place }) = self.declaration else { return ident.unraw().to_string() };
        match table.column(ident) {
            Some(column) => column.sql_name.clone(),
            None => {
                let columns: Vec<String> =
                    table.columns.iter().map(|column| format!("`{}`", column.ident)).collect();
                let (model, name, columns) = (&self.model.ident, &table.ident, columns.join(", "));
                let message =
                    format!("model `{model}`: `{name}` has no column `{ident}`, but {columns} ({place})");
                self.mistake(ident.span(), message);
                ident.unraw().to_string()
            }
        }
    }

    /// The names of columns whose order says nothing.
    fn unordered(&mut self, idents: &[Ident]) -> Vec<String> {
        let mut names: Vec<String> = idents.iter().map(|ident| self.column(ident)).collect();
        names.sort();
        names
    }

    /// Every column with its type; `table!` may list them in any order.
    fn all(&self) -> Vec<(String, String)> {
        let columns = self.declaration.into_iter().flat_map(|found| &found.item.columns);
        let mut columns: Vec<_> =
            columns.map(|column| (column.sql_name.clone(), column.sql_type.clone())).collect();
        columns.sort();
        columns
    }

    fn mistake(&mut self, span: Span, message: String) {
        self.mistakes.extend(located(&self.place.file, syn::Error::new(span, message)));
    }
}
