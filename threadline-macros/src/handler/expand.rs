//! Quotes the handler.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{AttrStyle, Attribute, FnArg, Ident, ItemFn, Pat, PatType, ReturnType, Type, parse_quote};

use super::ast::{Handler, is_audited, is_connection, is_result, replace_impl_trait};
use super::attr::Options;

/// The function with its body in the transaction.
pub(crate) fn handler(options: &Options, handler: &Handler, function: &ItemFn) -> TokenStream {
    let ItemFn { vis, sig, block, .. } = function;
    let Handler { connection: (place, connection), transaction, output } = handler;

    let name = plain_name(connection).unwrap_or_else(|| hidden("request"));
    let allow_missing_actor = options.allow_missing_actor;
    let mut sig = sig.clone();
    sig.inputs = function
        .sig
        .inputs
        .iter()
        .enumerate()
        .filter(|(other, _)| transaction.as_ref().is_none_or(|(transaction, _)| transaction != other))
        .map(
            |(other, input)| {
                if other == *place { request(&name, allow_missing_actor) } else { input.clone() }
            },
        )
        .collect();

    // What does not hold of the answer or the error is told on its type.
    let span = output.closure.span();
    let body = quote_spanned!(sig.ident.span()=> _);
    let run = match (&output.arguments, output.is_http_response) {
        (None, false) => quote_spanned!(span=> run),
        (None, true) => quote_spanned!(span=> run_response),
        (Some((answer, error)), false) => quote_spanned!(span=> run::<#answer, #error, #body>),
        (Some((_, error)), true) => quote_spanned!(span=> run_response::<#error, #body>),
    };
    let (connection_name, connection) = lent("connection", Some(connection));
    let (transaction_name, transaction) =
        lent("transaction", transaction.as_ref().map(|(_, parameter)| parameter));
    let closure_output = &output.closure;
    // As the macro's own braces: rustc would call those of a body with one expression unnecessary.
    let statements = &block.stmts;
    let block = quote_spanned!(Span::mixed_site()=> { #(#statements)* });
    // What cannot be moved into it is told on the handler's name. The block is a block of its own: items in it come first.
    let closure = quote_spanned! {sig.ident.span()=>
        move |#connection_name: &mut ::threadline_actix::__private::PgConnection,
              #transaction_name: &::threadline_actix::__private::OpenTransaction| -> #closure_output {
            #connection
            #transaction
            #block
        }
    };
    let attributes = attributes(function);
    let (action, prepare) = prepare(options);
    let announce = options.response_header;
    quote! {
        #(#attributes)*
        #vis #sig {
            #action
            #name.#run(#prepare, #announce, #closure).await
        }
    }
}

/// The function's attributes, those in front of its first statement too.
fn attributes(function: &ItemFn) -> impl Iterator<Item = Attribute> {
    function.attrs.iter().map(|attribute| Attribute { style: AttrStyle::Outer, ..attribute.clone() })
}

/// The hidden extractor, under the name of what it stands for: attributes speak of parameters by their names.
fn request(name: impl ToTokens, allow_missing_actor: bool) -> FnArg {
    parse_quote!(#name: ::threadline_actix::__private::AuditedRequest<#allow_missing_actor>)
}

/// A name of the macro's own. Not a plain one, which could be that of a handler: a route's attribute makes a unit struct of
/// it, and where a pattern is expected it would stand for that struct, whatever its span.
fn hidden(name: &str) -> Ident {
    Ident::new(&format!("__threadline_{name}"), Span::mixed_site())
}

fn plain_name(parameter: &PatType) -> Option<Ident> {
    match &*parameter.pat {
        Pat::Ident(name) => Some(name.ident.clone()),
        _ => None,
    }
}

/// The closure's parameter, and the statement that gives it the user's name and type: a wrong type is then told there.
fn lent(name: &str, parameter: Option<&PatType>) -> (Ident, TokenStream) {
    let ident = hidden(name);
    let Some(PatType { attrs, pat, ty, .. }) = parameter else {
        return (ident, TokenStream::new());
    };
    let mut told = ident.clone();
    told.set_span(ident.span().located_at(pat.span()));
    (ident, quote!(#(#attrs)* let #pat: #ty = #told;))
}

/// A statement that makes the action, before the body takes the arguments it may be made of, and the closure that makes of
/// the request's transaction the one the options ask for.
fn prepare(options: &Options) -> (TokenStream, TokenStream) {
    let (action, transaction) = (hidden("action"), hidden("transaction"));
    let made = options.action.as_ref().map(|name| {
        let details = options.details.iter().map(|(method, value)| quote!(.#method(#value)));
        quote!(let #action = ::threadline_actix::__private::Action::new(#name)#(#details)*;)
    });
    let with_action = options.action.as_ref().map(|_| quote!(.action(#action)));
    let isolation = options
        .isolation
        .as_ref()
        .map(|variant| quote!(.isolation(::threadline_actix::__private::Isolation::#variant)));
    let flags = [
        (options.require_changes, quote!(.require_changes())),
        (options.record_failures, quote!(.record_failures())),
        (options.allow_missing_actor, quote!(.allow_missing_actor())),
    ];
    let flags = flags.iter().filter(|(set, _)| *set).map(|(_, call)| call);
    let closure = quote! {
        |#transaction: ::threadline_actix::__private::TransactionBuilder| #transaction #with_action #isolation #(#flags)*
    };
    (made.unwrap_or_default(), closure)
}

/// A handler that can be routed to, in the place of one with mistakes.
pub(crate) fn stand_in(function: &ItemFn) -> TokenStream {
    let ItemFn { vis, sig, .. } = function;
    let mut sig = sig.clone();
    sig.asyncness.get_or_insert_with(Default::default);
    let (extractors, rest): (Vec<&PatType>, Vec<&PatType>) = function
        .sig
        .inputs
        .iter()
        .filter_map(|input| if let FnArg::Typed(parameter) = input { Some(parameter) } else { None })
        .partition(|parameter| !matches!(*parameter.ty, Type::Reference(_)) && !is_connection(&parameter.ty));
    let names = rest
        .iter()
        .map(|parameter| plain_name(parameter).map_or_else(|| quote!(_), ToTokens::into_token_stream));
    sig.inputs = extractors
        .into_iter()
        .cloned()
        .map(FnArg::Typed)
        .chain(names.map(|name| request(name, true)))
        .collect();
    // Named, or rustc would say that they are imported and not used.
    let named = rest.iter().map(|parameter| &parameter.ty);
    let http_response: Type = parse_quote!(::threadline_actix::__private::HttpResponse);
    let answer = match &sig.output {
        ReturnType::Type(_, ty) if is_result(ty) || matches!(**ty, Type::ImplTrait(_)) => {
            replace_impl_trait(ty, &|_| http_response.clone())
        }
        _ => {
            sig.output = parse_quote!(-> #http_response);
            http_response
        }
    };
    // A second one would find mistakes in what the first has made.
    let attributes = attributes(function).filter(|attribute| !is_audited(attribute));
    // Never run: the mistakes are compile errors.
    let never = hidden("never");
    quote! {
        #(#attributes)*
        #[allow(unused, unreachable_code, clippy::all)]
        #vis #sig {
            #(let _: ::core::option::Option<#named>;)*
            let #never: #answer = ::core::panic!();
            #never
        }
    }
}
