//! The handler `#[audited]` stands on, checked.

use proc_macro2::Span;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{
    Attribute, Error, ExprAsync, ExprAwait, ExprClosure, FnArg, GenericArgument, Ident, Item, ItemFn,
    PatType, PathArguments, Result, ReturnType, Type, parse_quote_spanned,
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
    pub(crate) connection: (usize, PatType),
    /// The open transaction's parameter, if the body wants it.
    pub(crate) transaction: Option<(usize, PatType)>,
    pub(crate) output: Output,
}

/// What a handler returns.
pub(crate) struct Output {
    /// The type with `_` for `impl Trait`, as a closure takes it.
    pub(crate) closure: Type,
    /// Answer and error, where the type spells them out.
    pub(crate) arguments: Option<(Type, Type)>,
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
        for second in function.attrs.iter().filter(|attribute| is_audited(attribute)) {
            mistakes.add(Error::new_spanned(
                second.path(),
                "`#[audited]` is given twice, and a handler has one transaction; leave out one of them",
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
                        continue;
                    }
                    if let Some(lifetime) = &reference.lifetime {
                        mistakes.add(Error::new_spanned(
                            lifetime,
                            format!("leave out `{lifetime}`: the connection is lent to the body alone"),
                        ));
                    }
                    connection = Some((place, parameter.clone()));
                }
                Type::Reference(reference)
                    if transaction.is_none()
                        && last_segment(&reference.elem).is_some_and(|name| name == "OpenTransaction") =>
                {
                    transaction = Some((place, parameter.clone()));
                }
                Type::Reference(_) => mistakes.add(Error::new_spanned(
                    &parameter.ty,
                    "only the open transaction is taken by `&`, once, as `&OpenTransaction`; extractors are taken by value",
                )),
                ty if last_segment(ty).is_some_and(|name| name == "OpenTransaction") => mistakes.add(Error::new_spanned(
                    ty,
                    "the open transaction is taken by reference: `&OpenTransaction`",
                )),
                ty => {
                    if let Some((bound, name, instead)) = thread_bound(ty) {
                        mistakes.add(Error::new_spanned(
                            bound,
                            format!(
                                "`{name}` is bound to its thread and the body runs on another one; {instead} \
                                 (a type of your own is told apart by its path, `crate::..::{name}`)"
                            ),
                        ));
                    }
                }
            }
        }
        if connection.is_none() {
            let by_value = function.sig.inputs.iter().find_map(|input| match input {
                FnArg::Typed(parameter) if is_connection(&parameter.ty) => Some(parameter.ty.span()),
                _ => None,
            });
            let span = by_value.unwrap_or_else(|| function.sig.paren_token.span.join());
            mistakes.add(Error::new(
                span,
                "the connection is missing: an `#[audited]` handler has one `&mut` parameter, `conn: &mut PgConnection`",
            ));
        }
        let mut awaits = Awaits(mistakes);
        awaits.visit_block(&function.block);
        match (awaits.0.into_error(), connection, output) {
            (None, Some(connection), Some(output)) => Ok(Self { connection, transaction, output }),
            (error, ..) => {
                Err(error.unwrap_or_else(|| Error::new(function.sig.span(), "not an actix handler")))
            }
        }
    }
}

/// Whether an attribute is this macro once more.
pub(crate) fn is_audited(attribute: &Attribute) -> bool {
    attribute.path().segments.last().is_some_and(|segment| segment.ident == "audited")
}

/// Whether a parameter of this type is meant to be the connection, but has no `&mut`.
pub(crate) fn is_connection(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|name| name.to_string().ends_with("Connection"))
}

fn output(output: &ReturnType, function: &ItemFn) -> Result<Output> {
    const WANTED: &str = "an `#[audited]` handler returns a `Result`, or an alias whose name ends in `Result`: `Ok` commits and `Err` rolls back";
    let ReturnType::Type(_, ty) = output else {
        return Err(Error::new(function.sig.ident.span(), WANTED));
    };
    if !is_result(ty) {
        return Err(Error::new_spanned(ty, WANTED));
    }
    let closure = replace_impl_trait(ty, &|span| parse_quote_spanned!(span=> _));
    let arguments = type_arguments(&closure);
    let is_http_response =
        arguments.first().and_then(|answer| last_segment(answer)).is_some_and(|name| name == "HttpResponse");
    let is_plain = last_segment(&closure).is_some_and(|name| name == "Result");
    let arguments = match arguments[..] {
        // An alias may mean something else by its arguments.
        [answer, error] if is_plain => Some((answer.clone(), error.clone())),
        _ => None,
    };
    Ok(Output { closure, arguments, is_http_response })
}

/// Whether a type is a `Result`, or an alias called so.
pub(crate) fn is_result(ty: &Type) -> bool {
    last_segment(ty).is_some_and(|name| name.to_string().ends_with("Result"))
}

/// The type with another one in the place of each `impl Trait`.
pub(crate) fn replace_impl_trait(ty: &Type, by: &dyn Fn(Span) -> Type) -> Type {
    let mut ty = ty.clone();
    match &mut ty {
        Type::ImplTrait(opaque) => return by(opaque.span()),
        Type::Tuple(tuple) => {
            for element in &mut tuple.elems {
                *element = replace_impl_trait(element, by);
            }
        }
        Type::Path(path) => {
            for segment in &mut path.path.segments {
                let PathArguments::AngleBracketed(arguments) = &mut segment.arguments else {
                    continue;
                };
                for argument in &mut arguments.args {
                    if let GenericArgument::Type(argument) = argument {
                        *argument = replace_impl_trait(argument, by);
                    }
                }
            }
        }
        _ => {}
    }
    ty
}

fn last_segment(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        _ => None,
    }
}

/// The types between the angle brackets of a path.
fn type_arguments(ty: &Type) -> Vec<&Type> {
    let Type::Path(path) = ty else { return Vec::new() };
    match path.path.segments.last().map(|segment| &segment.arguments) {
        Some(PathArguments::AngleBracketed(arguments)) => arguments
            .args
            .iter()
            .filter_map(|argument| if let GenericArgument::Type(ty) = argument { Some(ty) } else { None })
            .collect(),
        _ => Vec::new(),
    }
}

/// The type in an extractor's that is known to be bound to its thread.
fn thread_bound(ty: &Type) -> Option<(&Type, &'static str, &'static str)> {
    if let Type::Tuple(tuple) = ty {
        return tuple.elems.iter().find_map(thread_bound);
    }
    let Type::Path(path) = ty else { return None };
    let name = last_segment(ty)?;
    // Those that are extractors of extractors.
    if ["Option", "Result", "Either"].iter().any(|wrapper| name == wrapper) {
        return type_arguments(ty).into_iter().find_map(thread_bound);
    }
    // The application's own type of that name.
    let first = &path.path.segments.first()?.ident;
    if ["crate", "self", "super"].iter().any(|own| first == own) {
        return None;
    }
    THREAD_BOUND.iter().find(|(bound, _)| name == bound).map(|(bound, instead)| (ty, *bound, *instead))
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
        self.visit_expr(&node.base);
    }

    fn visit_expr_async(&mut self, _: &'ast ExprAsync) {}

    fn visit_expr_closure(&mut self, node: &'ast ExprClosure) {
        if node.asyncness.is_none() {
            visit::visit_expr_closure(self, node);
        }
    }

    fn visit_item(&mut self, _: &'ast Item) {}
}
