//! The checked struct: which table a model reads and what of it is recorded.

use std::collections::HashSet;

use proc_macro2::Span;
use syn::ext::IdentExt;
use syn::{Attribute, Data, DeriveInput, Error, Generics, Ident, LitStr, Meta, Path, Result};

use crate::attr::{self, column_list, diesel_table, threadline_options};
use crate::option::{unknown, usage};
use crate::rules::{check, contains};

/// What `#[diesel(..)]` and `#[threadline(..)]` say about one audited struct, checked.
///
/// Columns are identifiers of the `table!` module, with the spans they were written at. Whether the table has them is not
/// known here: the compiler says so for the derive, the sources for the command line.
#[derive(Clone)]
#[non_exhaustive]
pub struct AuditedModel {
    /// The struct's name.
    pub ident: Ident,
    /// The struct's own parameters.
    pub generics: Generics,
    /// The `table!` module, by `#[diesel(table_name = ..)]` or Diesel's guess from the struct's name.
    pub table: Path,
    /// Diesel's primary key, `id` unless `#[diesel(primary_key(..))]` says otherwise.
    pub primary_key: Vec<Ident>,
    /// Columns left out of the audit trail.
    pub exclude: Vec<Ident>,
    /// Columns whose values are replaced by a placeholder.
    pub mask: Vec<Ident>,
    /// What stands for a masked value.
    pub mask_placeholder: Option<LitStr>,
    /// Columns whose change alone is not recorded.
    pub ignore: Vec<Ident>,
    /// The declared key; empty when the table's primary key serves. See [`key_columns`](Self::key_columns).
    pub key: Vec<Ident>,
    /// The column that holds the tenant.
    pub scope: Option<Ident>,
    /// The table's schema, where `table!` does not say it.
    pub schema: Option<LitStr>,
    /// What a TRUNCATE leaves behind.
    pub on_truncate: OnTruncate,
    /// What happens to a write without an actor.
    pub actor_policy: ActorPolicy,
}

/// What a TRUNCATE leaves behind: the core crate's type of this name, which the derive cannot depend on.
#[expect(missing_docs, reason = "the core crate's type of this name documents the values")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTruncate {
    #[default]
    Record,
    Keep,
    Refuse,
}

/// What happens to a write without an actor: the core crate's type of this name, which the derive cannot depend on.
#[expect(missing_docs, reason = "the core crate's type of this name documents the values")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ActorPolicy {
    #[default]
    Allow,
    Require,
}

impl AuditedModel {
    /// Reads a struct that derives `Audited`.
    ///
    /// # Errors
    ///
    /// Every mistake of the struct, combined, each at the token that is wrong.
    pub fn from_derive_input(input: &DeriveInput) -> Result<Self> {
        let mut errors = Vec::new();
        let model = Self::read(input, &mut errors);
        match errors.into_iter().reduce(|mut all, error| {
            all.combine(error);
            all
        }) {
            None => Ok(model),
            Some(errors) => Err(errors),
        }
    }

    /// The columns that identify a row, in order: the declared key, else Diesel's primary key.
    pub fn key_columns(&self) -> &[Ident] {
        if self.key.is_empty() { &self.primary_key } else { &self.key }
    }

    fn read(input: &DeriveInput, errors: &mut Vec<Error>) -> Self {
        let diesel = diesel_table(&input.attrs, errors);
        let mut model = Self {
            ident: input.ident.clone(),
            generics: input.generics.clone(),
            table: diesel.name.unwrap_or_else(|| guessed_table(&input.ident).into()),
            primary_key: diesel.primary_key.unwrap_or_else(|| vec![Ident::new("id", input.ident.span())]),
            exclude: Vec::new(),
            mask: Vec::new(),
            mask_placeholder: None,
            ignore: Vec::new(),
            key: Vec::new(),
            scope: None,
            schema: None,
            on_truncate: OnTruncate::default(),
            actor_policy: ActorPolicy::default(),
        };
        refuse_other_places(input, errors);
        let seen = model.read_options(&input.attrs, errors);
        check(&model, &seen, errors);
        model
    }

    /// Returns the names of all options, those that could not be read included.
    fn read_options(&mut self, attrs: &[Attribute], errors: &mut Vec<Error>) -> HashSet<String> {
        let mut seen = HashSet::new();
        for option in threadline_options(attrs, errors) {
            let Some(name) = option.path().get_ident().map(|name| name.unraw().to_string()) else {
                errors.push(Error::new_spanned(option.path(), "expected the name of an option, not a path"));
                continue;
            };
            let Some(usage) = usage(&name) else {
                errors.push(Error::new_spanned(option.path(), unknown(&name)));
                continue;
            };
            if !seen.insert(name.clone()) {
                let hint = if usage.ends_with("..)") { "name all its columns in one" } else { "remove one" };
                let message = format!("option `{name}` is given twice; {hint}");
                errors.push(Error::new_spanned(option.path(), message));
            } else if self.read_option(&name, &option, errors).is_none() {
                errors.push(Error::new_spanned(&option, format!("expected `{usage}`")));
            }
        }
        seen
    }

    /// `None` when the option is not written as it has to be.
    fn read_option(&mut self, name: &str, option: &Meta, errors: &mut Vec<Error>) -> Option<()> {
        match name {
            "exclude" => self.exclude = columns(name, option, errors)?,
            "mask" => self.mask = columns(name, option, errors)?,
            "ignore" => self.ignore = columns(name, option, errors)?,
            "key" => self.key = columns(name, option, errors)?,
            "scope" => {
                let mut scope = columns(name, option, errors)?.into_iter();
                self.scope = scope.next();
                errors.extend(scope.next().map(|second| {
                    Error::new(second.span(), "a table has one scope; expected `scope(column)`")
                }));
            }
            "mask_placeholder" => self.mask_placeholder = Some(attr::text(option)?),
            "schema" => self.schema = Some(attr::text(option)?),
            "on_truncate" => {
                let values = [
                    ("record", OnTruncate::Record),
                    ("keep", OnTruncate::Keep),
                    ("refuse", OnTruncate::Refuse),
                ];
                self.on_truncate = choice(&attr::text(option)?, &values, errors);
            }
            "actor_policy" => {
                let values = [("allow", ActorPolicy::Allow), ("require", ActorPolicy::Require)];
                self.actor_policy = choice(&attr::text(option)?, &values, errors);
            }
            _ => unreachable!("`usage` knows no option but these"),
        }
        Some(())
    }
}

/// `None` when the option is not written `name(column, ..)`.
fn columns(name: &str, option: &Meta, errors: &mut Vec<Error>) -> Option<Vec<Ident>> {
    let before = errors.len();
    let columns = column_list(option, errors)?;
    if columns.is_empty() && errors.len() == before {
        return None;
    }
    for (index, column) in columns.iter().enumerate() {
        if contains(&columns[..index], column) {
            let message = format!("column `{}` is named twice in `{name}`", column.unraw());
            errors.push(Error::new(column.span(), message));
        }
    }
    Some(columns)
}

fn choice<T: Copy + Default>(text: &LitStr, values: &[(&str, T)], errors: &mut Vec<Error>) -> T {
    let found = values.iter().find(|(name, _)| *name == text.value());
    if found.is_none() {
        let names: Vec<String> = values.iter().map(|(name, _)| format!("{name:?}")).collect();
        errors.push(Error::new(text.span(), format!("expected {}", names.join(" or "))));
    }
    found.map_or_else(T::default, |(_, value)| *value)
}

fn refuse_other_places(input: &DeriveInput, errors: &mut Vec<Error>) {
    let fields = match &input.data {
        Data::Struct(data) => &data.fields,
        Data::Enum(data) => return errors.push(not_a_struct(data.enum_token.span)),
        Data::Union(data) => return errors.push(not_a_struct(data.union_token.span)),
    };
    // Left unsaid, the column would be recorded in clear.
    for attr in fields.iter().flat_map(|field| &field.attrs).filter(|attr| attr.path().is_ident("threadline"))
    {
        let message =
            "`#[threadline(..)]` goes on the struct and names the column: `#[threadline(mask(column))]`";
        errors.push(Error::new_spanned(attr.path(), message));
    }
}

fn not_a_struct(keyword: Span) -> Error {
    Error::new(keyword, "`Audited` is for structs: a model of the rows of one table")
}

/// Diesel's rule (`infer_table_name` of diesel_derives 2.3): snake case and an `s`.
fn guessed_table(ident: &Ident) -> Ident {
    let mut name = String::new();
    for (index, character) in ident.unraw().to_string().chars().enumerate() {
        if character.is_uppercase() && index > 0 {
            name.push('_');
        }
        name.extend(character.to_lowercase());
    }
    name.push('s');
    Ident::new(&name, ident.span())
}
