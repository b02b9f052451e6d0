//! The handler `#[audited]` stands on, checked.

use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Error, Expr, ExprAsync, ExprAwait, ExprClosure, FnArg, GenericArgument, Ident, Item, ItemFn, Pat,
    PatType, PathArguments, Result, ReturnType, Type, TypeReference, parse_quote_spanned,
};

use super::attr::Mistakes;

/// Extractors that are bound to their thread, with what to do instead.
const THREAD_BOUND: &[(&str, &str)] = &[
    ("HttpRequest", "take what is needed of it by an extractor of its own, such as `web::Header`"),
    ("Payload", "take the body as a whole: `web::Bytes`, `web::Json` or `web::Form`"),
    ("Multipart", "read it in a plain handler first, and write with `Audit::write`"),
    ("Session", "read it in an extractor of your own, or write with `Audit::write` in a plain handler"),
    ("Identity", "the middleware's callback is the place for it: the actor is in the context already"),
    ("Rc", "an `Arc` can be sent"),
];

/// A handler that can be expanded.
pub(crate) struct Handler {
    /// The connection's parameter, by its place.
    pub(crate) connection: usize,
    pub(crate) connection_name: Ident,
    pub(crate) connection_type: TypeReference,
    /// The open transaction's parameter, if the body wants it.
    pub(crate) transaction: Option<(usize, PatType)>,
    /// The return type with `_` for `impl Trait`.
    pub(crate) closure_output: Type,
    /// Whether it answers with an `HttpResponse`, which cannot be sent as it is.
    pub(crate) is_http_response: bool,
}

impl Handler {
    pub(crate) fn parse(function: &ItemFn) -> Result<Self> {
        let mut mistakes = Mistakes::default();
        if function.sig.asyncness.is_none() {
            mistakes.add(Error::new(
                function.sig.fn_token.span(),
                "an `#[audited]` handler is an `async fn`, as any handler of actix; its body is run on a blocking thread",
            ));
        }
        let output = mistakes.take(output(&function.sig.output, function));
        let mut connection = None;
        let mut transaction = None;
        for (place, input) in function.sig.inputs.iter().enumerate() {
            let FnArg::Typed(parameter) = input else {
                mistakes.add(Error::new_spanned(
                    input,
                    "an `#[audited]` handler is a free function, without `self`",
                ));
                continue;
            };
            match &*parameter.ty {
                Type::Reference(reference) if reference.mutability.is_some() => {
                    if connection.is_some() {
                        mistakes.add(Error::new_spanned(&parameter.ty, "a second `&mut` parameter: only the connection is one"));
                    } else if let Pat::Ident(name) = &*parameter.pat {
                        connection = Some((place, name.ident.clone(), reference.clone()));
                    } else {
                        mistakes.add(Error::new_spanned(&parameter.pat, "give the connection a plain name"));
                        connection = Some((place, Ident::new("conn", parameter.pat.span()), reference.clone()));
                    }
                }
                Type::Reference(_) if transaction.is_none() => transaction = Some((place, parameter.clone())),
                Type::Reference(_) => mistakes.add(Error::new_spanned(
                    &parameter.ty,
                    "a second `&` parameter: only the transaction is one, `&OpenTransaction`; extractors are taken by value",
                )),
                ty => {
                    if let Some((name, instead)) = thread_bound(ty) {
                        mistakes.add(Error::new_spanned(
                            ty,
                            format!("`{name}` is bound to its thread and the body runs on another one; {instead}"),
                        ));
                    }
                }
            }
        }
        if connection.is_none() {
            mistakes.add(Error::new(
                function.sig.paren_token.span.join(),
                "the connection is missing: an `#[audited]` handler has one `&mut` parameter, `conn: &mut PgConnection`",
            ));
        }
        let mut awaits = Awaits(mistakes);
        awaits.visit_block(&function.block);
        match (awaits.0.into_error(), connection, output) {
            (
                None,
                Some((connection, connection_name, connection_type)),
                Some((closure_output, is_http_response)),
            ) => Ok(Self {
                connection,
                connection_name,
                connection_type,
                transaction,
                closure_output,
                is_http_response,
            }),
            (error, ..) => {
                Err(error.unwrap_or_else(|| Error::new(function.sig.span(), "not an actix handler")))
            }
        }
    }
}

/// The return type of the closure, and whether an `HttpResponse` is in it.
fn output(output: &ReturnType, function: &ItemFn) -> Result<(Type, bool)> {
    const WANTED: &str = "an `#[audited]` handler returns a `Result`: `Ok` commits and `Err` rolls back";
    let ReturnType::Type(_, ty) = output else {
        return Err(Error::new(function.sig.paren_token.span.join(), WANTED));
    };
    let mut ty = ty.as_ref().clone();
    let Type::Path(path) = &mut ty else {
        return Err(Error::new_spanned(&ty, WANTED));
    };
    let last = path.path.segments.last_mut().expect("a path has a segment");
    if !last.ident.to_string().ends_with("Result") {
        return Err(Error::new_spanned(&ty, WANTED));
    }
    let mut is_http_response = false;
    if let PathArguments::AngleBracketed(arguments) = &mut last.arguments {
        for (place, argument) in arguments.args.iter_mut().enumerate() {
            let GenericArgument::Type(argument) = argument else {
                continue;
            };
            is_http_response |=
                place == 0 && last_segment(argument).is_some_and(|name| name == "HttpResponse");
            if matches!(argument, Type::ImplTrait(_)) {
                let span = argument.span();
                *argument = parse_quote_spanned!(span=> _);
            }
        }
    }
    Ok((ty, is_http_response))
}

fn last_segment(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        _ => None,
    }
}

fn thread_bound(ty: &Type) -> Option<(&'static str, &'static str)> {
    let name = last_segment(ty)?;
    // Also inside `Option<..>` and `Result<.., E>`, which are extractors of extractors.
    if name == "Option" || name == "Result" {
        let Type::Path(path) = ty else { return None };
        let PathArguments::AngleBracketed(arguments) = &path.path.segments.last()?.arguments else {
            return None;
        };
        return arguments.args.iter().find_map(|argument| match argument {
            GenericArgument::Type(ty) => thread_bound(ty),
            _ => None,
        });
    }
    THREAD_BOUND.iter().find(|(bound, _)| name == bound).copied()
}

/// Finds `.await` in what is to be a closure, but not in what is async by itself.
struct Awaits(Mistakes);

impl<'ast> Visit<'ast> for Awaits {
    fn visit_expr_await(&mut self, node: &'ast ExprAwait) {
        self.0.add(Error::new(
            node.await_token.span,
            "`.await` in an `#[audited]` handler: its body runs on a blocking thread, inside the transaction; await in an extractor, \
             or use `Audit::write` in a plain handler (an attribute that rewrites the body, such as `#[instrument]`, goes below `#[audited]`)",
        ));
        visit::visit_expr(self, &node.base);
    }

    fn visit_expr_async(&mut self, _: &'ast ExprAsync) {}

    fn visit_expr_closure(&mut self, node: &'ast ExprClosure) {
        if node.asyncness.is_none() {
            visit::visit_expr_closure(self, node);
        }
    }

    fn visit_item(&mut self, _: &'ast Item) {}

    fn visit_expr(&mut self, node: &'ast Expr) {
        visit::visit_expr(self, node);
    }
}
