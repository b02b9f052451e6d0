//! The options in `#[audited(..)]`.

use proc_macro2::{Group, Span, TokenStream};
use syn::ext::IdentExt;
use syn::parse::{Parse, ParseStream, Parser};
use syn::punctuated::Punctuated;
use syn::spanned::Spanned;
use syn::{Error, Expr, Ident, Lit, LitStr, Result, Token, token};

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

/// One option, as it is written.
struct Setting {
    name: Ident,
    value: Value,
}

/// What follows an option's name.
enum Value {
    Absent,
    Given(Box<Expr>),
    /// Something, but not `= value`.
    Malformed(Span),
}

impl Parse for Setting {
    fn parse(input: ParseStream<'_>) -> Result<Self> {
        if input.peek(Lit) {
            let value: Lit = input.parse()?;
            return Err(Error::new_spanned(
                value,
                "a value without a name; the action's is `action = \"..\"`",
            ));
        }
        let name = input.call(Ident::parse_any)?;
        let value = if input.peek(Token![=]) {
            let equals: Token![=] = input.parse()?;
            if input.is_empty() || input.peek(Token![,]) {
                Value::Malformed(equals.span)
            } else {
                Value::Given(Box::new(input.parse()?))
            }
        } else if input.peek(Token![:]) {
            let colon: Token![:] = input.parse()?;
            input.parse::<Expr>()?;
            Value::Malformed(colon.span)
        } else if input.peek(token::Paren) {
            Value::Malformed(input.parse::<Group>()?.span())
        } else {
            Value::Absent
        };
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
        } else if mistakes.0.is_none() && options.action.is_none() {
            // Only when all else is right: a misspelt `action` is one mistake.
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

fn text(name: &Ident, value: Value) -> Result<Expr> {
    let span = match value {
        Value::Given(value) => match *value {
            Expr::Lit(value) if !matches!(value.lit, Lit::Str(_)) => value.lit.span(),
            value => return Ok(value),
        },
        Value::Malformed(span) => span,
        Value::Absent => name.span(),
    };
    Err(Error::new(span, format!("`{name}` takes a text: `{name} = \"..\"`")))
}

fn flag(name: &Ident, value: Value) -> Result<bool> {
    let span = match value {
        Value::Absent => return Ok(true),
        Value::Given(value) => value.span(),
        Value::Malformed(span) => span,
    };
    Err(Error::new(span, format!("`{name}` takes no value; name it, or leave it out")))
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
    let is_short = limit == 256;
    let is_refused = |c: char| c.is_control() && (is_short || !matches!(c, '\n' | '\r' | '\t'));
    let problem = if text.is_empty() && is_short {
        "is empty"
    } else if text.len() > limit {
        "is too long"
    } else if text.chars().any(is_refused) {
        "has a control character"
    } else {
        return Ok(());
    };
    let expected = if is_short {
        "1 to 256 bytes without control characters"
    } else {
        "up to 4096 bytes, of control characters only line breaks and tabs"
    };
    Err(Error::new(literal.span(), format!("`{name}` {problem}; it takes {expected}")))
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
