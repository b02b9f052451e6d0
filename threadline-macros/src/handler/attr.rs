//! The options in `#[audited(..)]`.

use proc_macro2::{Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::{Error, Expr, Ident, Lit, LitStr, Result, Token};

const OPTIONS: &str = "expected `action`, `verb`, `category`, `reason`, `comment`, `isolation` (each `= \"..\"`), `require_changes`, \
    `record_failures`, `capture_only`, `allow_missing_actor` or `response_header`";

/// What `#[audited(..)]` says.
#[derive(Default)]
pub(crate) struct Options {
    /// `None` when only capture is wanted.
    pub(crate) action: Option<Expr>,
    /// `verb`, `category`, `reason`, `comment`: methods of the action, with their argument.
    pub(crate) details: Vec<(Ident, Expr)>,
    /// The variant of `Isolation`.
    pub(crate) isolation: Option<Ident>,
    pub(crate) require_changes: bool,
    pub(crate) record_failures: bool,
    pub(crate) allow_missing_actor: bool,
    pub(crate) response_header: bool,
}

/// Mistakes gathered, to be told all at once.
#[derive(Default)]
pub(crate) struct Mistakes(Option<Error>);

impl Mistakes {
    pub(crate) fn add(&mut self, error: Error) {
        match &mut self.0 {
            Some(mistakes) => mistakes.combine(error),
            none => *none = Some(error),
        }
    }

    pub(crate) fn take<T>(&mut self, outcome: Result<T>) -> Option<T> {
        outcome.map_err(|error| self.add(error)).ok()
    }

    pub(crate) fn into_error(self) -> Option<Error> {
        self.0
    }
}

/// One option: a name, and a value if it takes one.
struct Setting {
    name: Ident,
    value: Option<Expr>,
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        let name = input.call(Ident::parse_any)?;
        let value = if input.parse::<Option<Token![=]>>()?.is_some() { Some(input.parse()?) } else { None };
        Ok(Self { name, value })
    }
}

impl Options {
    pub(crate) fn parse(tokens: TokenStream) -> Result<Self> {
        let settings = Punctuated::<Setting, Token![,]>::parse_terminated.parse2(tokens)?;
        let mut options = Self::default();
        let mut mistakes = Mistakes::default();
        let mut seen: Vec<Ident> = Vec::new();
        let mut capture_only = None;
        for setting in settings {
            if seen.contains(&setting.name) {
                mistakes.add(Error::new(setting.name.span(), format!("`{}` is given twice", setting.name)));
                continue;
            }
            seen.push(setting.name.clone());
            if setting.name == "capture_only" {
                capture_only = Some(setting.name.clone());
            }
            mistakes.take(options.set(setting));
        }
        if let Some(capture_only) = capture_only {
            let needs_action = |name: &&Ident| {
                ["action", "verb", "category", "reason", "comment", "record_failures"]
                    .iter()
                    .any(|option| *name == option)
            };
            for name in seen.iter().filter(needs_action) {
                mistakes.add(Error::new(
                    name.span(),
                    format!("`{name}` is about an action, and with `{capture_only}` there is none; leave out one of them"),
                ));
            }
        } else if options.action.is_none() && !seen.iter().any(|name| name == "action") {
            mistakes.add(Error::new(
                Span::call_site(),
                "what is done is not said: `#[audited(action = \"post.published\")]`, or `#[audited(capture_only)]` for none",
            ));
        }
        mistakes.into_error().map_or(Ok(options), Err)
    }

    fn set(&mut self, Setting { name, value }: Setting) -> Result<()> {
        match name.to_string().as_str() {
            "action" => {
                let value = text(&name, value)?;
                checked(&value, &name, 256)?;
                self.action = Some(value);
            }
            option @ ("verb" | "category" | "reason" | "comment") => {
                let value = text(&name, value)?;
                checked(&value, &name, if matches!(option, "verb" | "category") { 256 } else { 4096 })?;
                self.details.push((name, value));
            }
            "isolation" => self.isolation = Some(isolation(&text(&name, value)?)?),
            "require_changes" => self.require_changes = flag(&name, value)?,
            "record_failures" => self.record_failures = flag(&name, value)?,
            "allow_missing_actor" => self.allow_missing_actor = flag(&name, value)?,
            "response_header" => self.response_header = flag(&name, value)?,
            "capture_only" => _ = flag(&name, value)?,
            _ => return Err(Error::new(name.span(), format!("unknown option `{name}`; {OPTIONS}"))),
        }
        Ok(())
    }
}

fn text(name: &Ident, value: Option<Expr>) -> Result<Expr> {
    value.ok_or_else(|| Error::new(name.span(), format!("`{name}` takes a text: `{name} = \"..\"`")))
}

fn flag(name: &Ident, value: Option<Expr>) -> Result<bool> {
    match value {
        None => Ok(true),
        Some(value) => {
            Err(Error::new_spanned(value, format!("`{name}` takes no value; name it, or leave it out")))
        }
    }
}

fn literal(value: &Expr) -> Option<&LitStr> {
    match value {
        Expr::Lit(value) => match &value.lit {
            Lit::Str(literal) => Some(literal),
            _ => None,
        },
        _ => None,
    }
}

/// Refuses a literal that would be refused at run time.
fn checked(value: &Expr, name: &Ident, limit: usize) -> Result<()> {
    let Some(literal) = literal(value) else {
        return Ok(());
    };
    let text = literal.value();
    let problem = if text.is_empty() {
        "is empty"
    } else if text.len() > limit {
        return Err(Error::new(literal.span(), format!("`{name}` is longer than {limit} bytes")));
    } else if text.chars().any(|c| c.is_control() && !(limit > 256 && matches!(c, '\n' | '\r' | '\t'))) {
        "has a control character"
    } else {
        return Ok(());
    };
    Err(Error::new(literal.span(), format!("`{name}` {problem}")))
}

fn isolation(value: &Expr) -> Result<Ident> {
    let variant = literal(value).and_then(|literal| {
        let variant = match literal.value().as_str() {
            "read_committed" => "ReadCommitted",
            "repeatable_read" => "RepeatableRead",
            "serializable" => "Serializable",
            _ => return None,
        };
        Some(Ident::new(variant, literal.span()))
    });
    variant.ok_or_else(|| {
        Error::new_spanned(
            value,
            "`isolation` is \"read_committed\", \"repeatable_read\" or \"serializable\"",
        )
    })
}
