//! Quotes the handler.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{FnArg, Ident, ItemFn, Pat, PatType, ReturnType, Type, parse_quote};

use super::ast::Handler;
use super::attr::Options;

/// The function with its body in the transaction.
pub(crate) fn handler(options: &Options, handler: &Handler, function: &ItemFn) -> TokenStream {
    let ItemFn { attrs, vis, sig, block, .. } = function;
    let Handler { connection_name, connection_type, closure_output, .. } = handler;

    let allow_missing_actor = options.allow_missing_actor;
    let mut sig = sig.clone();
    sig.inputs = function
        .sig
        .inputs
        .iter()
        .enumerate()
        .filter(|(place, _)| handler.transaction.as_ref().is_none_or(|(transaction, _)| transaction != place))
        .map(|(place, input)| {
            if place == handler.connection {
                // Under the connection's own name, for attributes that speak of parameters.
                parse_quote!(#connection_name: ::threadline_actix::__private::AuditedRequest<#allow_missing_actor>)
            } else {
                input.clone()
            }
        })
        .collect();

    let transaction = handler.transaction.as_ref().map_or_else(
        || quote!(_: &::threadline_actix::__private::OpenTransaction),
        |(_, parameter)| parameter.to_token_stream(),
    );
    let (action, prepare) = prepare(options);
    let announce = options.response_header;
    // What does not hold of the answer is told on its type, what does not hold of the connection on that.
    let run = if handler.is_http_response {
        quote_spanned!(closure_output.span()=> run_response)
    } else {
        quote_spanned!(closure_output.span()=> run)
    };
    let statements = &block.stmts;
    let closure = quote_spanned! {connection_type.span()=>
        move |#connection_name: #connection_type, #transaction| -> #closure_output { #(#statements)* }
    };
    quote! {
        #(#attrs)*
        #vis #sig {
            #action
            #connection_name.#run(#prepare, #announce, #closure).await
        }
    }
}

/// A statement that makes the action, before the body takes the arguments it may be made of, and the closure that makes of
/// the request's transaction the one the options ask for.
fn prepare(options: &Options) -> (TokenStream, TokenStream) {
    let action = Ident::new("action", Span::mixed_site());
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
        |transaction: ::threadline_actix::__private::TransactionBuilder| transaction #with_action #isolation #(#flags)*
    };
    (made.unwrap_or_default(), closure)
}

/// A handler that can be routed to, in the place of one with mistakes.
pub(crate) fn stand_in(function: &ItemFn) -> TokenStream {
    let ItemFn { attrs, vis, sig, .. } = function;
    let mut sig = sig.clone();
    sig.asyncness.get_or_insert_with(Default::default);
    sig.inputs = function
        .sig
        .inputs
        .iter()
        .filter_map(|input| match input {
            FnArg::Typed(parameter) if !matches!(*parameter.ty, Type::Reference(_)) => {
                Some(FnArg::Typed(unused(parameter)))
            }
            _ => None,
        })
        .collect();
    if matches!(sig.output, ReturnType::Default) {
        sig.output = parse_quote!(-> ::threadline_actix::__private::HttpResponse);
    }
    // Never run: the mistakes are compile errors.
    quote! {
        #(#attrs)*
        #vis #sig {
            ::core::panic!()
        }
    }
}

fn unused(parameter: &PatType) -> PatType {
    let mut parameter = parameter.clone();
    *parameter.pat =
        Pat::Wild(syn::PatWild { attrs: Vec::new(), underscore_token: syn::Token![_](parameter.pat.span()) });
    parameter
}
