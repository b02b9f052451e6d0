//! Reads the tokens of `#[threadline(..)]` and of the two parts of `#[diesel(..)]` that name a table; knows no meaning.

use proc_macro2::{TokenStream, TokenTree};
use syn::parse::Parser;
use syn::punctuated::Punctuated;
use syn::{Attribute, Error, Expr, ExprLit, Ident, Lit, LitStr, MacroDelimiter, Meta, Path, Result, Token};

/// Every `name`, `name(..)` and `name = ..` of every `#[threadline(..)]`, in the order written.
pub(crate) fn threadline_options(attrs: &[Attribute], errors: &mut Vec<Error>) -> Vec<Meta> {
    let mut options = Vec::new();
    for attr in attrs.iter().filter(|attr| attr.path().is_ident("threadline")) {
        let parsed = match &attr.meta {
            Meta::List(list) => list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated),
            other => Err(Error::new_spanned(other, "expected `#[threadline(option, ..)]`")),
        };
        match parsed {
            Ok(parsed) => options.extend(parsed),
            Err(error) => errors.push(error),
        }
    }
    options
}

/// The columns of `option(column, ..)`; `None` when the option is not of that form.
pub(crate) fn column_list(option: &Meta, errors: &mut Vec<Error>) -> Option<Vec<Ident>> {
    let Meta::List(list) = option else { return None };
    let MacroDelimiter::Paren(_) = list.delimiter else { return None };
    let items = match list.parse_args_with(Punctuated::<Expr, Token![,]>::parse_terminated) {
        Ok(items) => items,
        Err(error) => {
            errors.push(error);
            return Some(Vec::new());
        }
    };
    let columns = items.into_iter().filter_map(|item| match column(&item) {
        Ok(column) => Some(column),
        Err(error) => {
            errors.push(error);
            None
        }
    });
    Some(columns.collect())
}

fn column(item: &Expr) -> Result<Ident> {
    match item {
        Expr::Path(path) if path.path.get_ident().is_some() => path.path.require_ident().cloned(),
        Expr::Lit(ExprLit { lit: Lit::Str(_), .. }) => {
            Err(Error::new_spanned(item, "expected the name of a column, without quotes"))
        }
        _ => Err(Error::new_spanned(item, "expected the name of a column, as `table!` has it")),
    }
}

/// The string of `option = ".."`; `None` when the option is not of that form.
pub(crate) fn text(option: &Meta) -> Option<LitStr> {
    match option {
        Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// What Diesel's attributes say about the table; `None` where they say nothing.
#[derive(Default)]
pub(crate) struct DieselTable {
    pub(crate) name: Option<Path>,
    pub(crate) primary_key: Option<Vec<Ident>>,
}

/// Reads `table_name` and `primary_key` as Diesel's own derives do, the older `#[table_name = ".."]` included.
///
/// All else inside `#[diesel(..)]` is skipped, well formed or not: Diesel reports on it.
pub(crate) fn diesel_table(attrs: &[Attribute], errors: &mut Vec<Error>) -> DieselTable {
    let mut table = DieselTable::default();
    for attr in attrs {
        let read = match &attr.meta {
            Meta::List(list) if list.path.is_ident("diesel") => {
                split_at_commas(list.tokens.clone()).into_iter().try_for_each(|part| table.read(part))
            }
            Meta::NameValue(pair) if pair.path.is_ident("table_name") => match text(&attr.meta) {
                Some(name) => name.parse().map(|name| table.set_name(name)),
                None => Ok(()),
            },
            Meta::List(list) if list.path.is_ident("primary_key") => {
                idents(list.tokens.clone()).map(|key| table.primary_key = Some(key))
            }
            _ => Ok(()),
        };
        errors.extend(read.err());
    }
    table
}

impl DieselTable {
    fn read(&mut self, part: Vec<TokenTree>) -> Result<()> {
        match part.as_slice() {
            [TokenTree::Ident(name), TokenTree::Punct(eq), value @ ..]
                if name == "table_name" && eq.as_char() == '=' =>
            {
                let value = value.iter().cloned().collect();
                let path = syn::parse2::<Path>(value).map_err(|error| {
                    Error::new(
                        error.span(),
                        "expected the path of a `table!`, for example `table_name = posts`",
                    )
                })?;
                self.set_name(path);
            }
            [TokenTree::Ident(name), TokenTree::Group(keys)] if name == "primary_key" => {
                self.primary_key = Some(idents(keys.stream())?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Diesel refuses a second `table_name`; the first one is then as good as any.
    fn set_name(&mut self, name: Path) {
        self.name.get_or_insert(name);
    }
}

fn idents(tokens: TokenStream) -> Result<Vec<Ident>> {
    Punctuated::<Ident, Token![,]>::parse_terminated.parse2(tokens).map(|idents| idents.into_iter().collect())
}

/// A comma between generic arguments splits too; no part of those looks like what [`DieselTable::read`] takes.
fn split_at_commas(tokens: TokenStream) -> Vec<Vec<TokenTree>> {
    let mut parts = vec![Vec::new()];
    for token in tokens {
        match token {
            TokenTree::Punct(punct) if punct.as_char() == ',' => parts.push(Vec::new()),
            token => parts.last_mut().expect("starts with one part").push(token),
        }
    }
    parts
}
