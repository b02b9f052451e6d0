//! A `table!` declaration: what the database calls a table and its columns.

use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Expr, ExprLit, Ident, ItemUse, Lit, Meta, Result, Token, TypePath, braced, parenthesized,
};

/// One `table!`, by the syntax of diesel_table_macro_syntax.
#[derive(Clone, PartialEq)]
pub(crate) struct TableDeclaration {
    /// The name of the module it makes.
    pub(crate) ident: String,
    pub(crate) schema: Option<String>,
    pub(crate) sql_name: String,
    /// The identifiers of its columns, in order.
    pub(crate) primary_key: Vec<String>,
    pub(crate) columns: Vec<Column>,
}

/// One column of a `table!`.
#[derive(Clone, PartialEq)]
pub(crate) struct Column {
    pub(crate) ident: String,
    pub(crate) sql_name: String,
    /// The SQL type as written, without spaces.
    pub(crate) sql_type: String,
}

impl TableDeclaration {
    pub(crate) fn column(&self, ident: &Ident) -> Option<&Column> {
        self.columns.iter().find(|column| ident.unraw() == column.ident)
    }
}

impl Parse for TableDeclaration {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        while input.fork().parse::<ItemUse>().is_ok() {
            input.parse::<ItemUse>()?;
        }
        let attrs = input.call(Attribute::parse_outer)?;
        let mut name: Ident = input.parse()?;
        let mut schema = None;
        if input.parse::<Option<Token![.]>>()?.is_some() {
            schema = Some(name.unraw().to_string());
            name = input.parse()?;
        }
        let mut primary_key = vec![String::from("id")];
        if input.peek(syn::token::Paren) {
            let key;
            parenthesized!(key in input);
            let key = key.call(Punctuated::<Ident, Token![,]>::parse_terminated)?;
            primary_key = key.iter().map(|column| column.unraw().to_string()).collect();
        }
        let columns;
        braced!(columns in input);
        let columns = columns.call(Punctuated::<Column, Token![,]>::parse_terminated)?;
        Ok(Self {
            ident: name.unraw().to_string(),
            schema,
            sql_name: sql_name(&attrs, &name),
            primary_key,
            columns: columns.into_iter().collect(),
        })
    }
}

impl Parse for Column {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let attrs = input.call(Attribute::parse_outer)?;
        let name: Ident = input.parse()?;
        input.parse::<Token![->]>()?;
        let sql_type: TypePath = input.parse()?;
        Ok(Self {
            ident: name.unraw().to_string(),
            sql_name: sql_name(&attrs, &name),
            sql_type: quote::quote!(#sql_type).to_string().replace(' ', ""),
        })
    }
}

fn sql_name(attrs: &[Attribute], ident: &Ident) -> String {
    let given = attrs.iter().find_map(|attr| match &attr.meta {
        Meta::NameValue(pair) if pair.path.is_ident("sql_name") => match &pair.value {
            Expr::Lit(ExprLit { lit: Lit::Str(name), .. }) => Some(name.value()),
            _ => None,
        },
        _ => None,
    });
    // A raw name in the string is taken as the name, as Diesel does.
    given.map_or_else(
        || ident.unraw().to_string(),
        |name| name.strip_prefix("r#").map_or(name.clone(), String::from),
    )
}
