//! `#[audited(..)]`: makes an actix handler's body the body of an audited transaction.
//!
//! One function comes out where one went in, its attributes, generics, patterns and visibility as they were: so it does not
//! matter whether the route attribute is above or below. The connection's parameter becomes the hidden extractor, under the
//! same name, and the body a closure: a nested function would need a copy of the generics.

mod ast;
mod attr;
mod expand;

use proc_macro2::TokenStream;
use quote::quote;
use syn::ItemFn;

use self::ast::Handler;
use self::attr::Options;

/// The handler; with mistakes, their messages and one of the same signature, so that routes still type-check.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let function = match syn::parse2::<ItemFn>(item.clone()) {
        Ok(function) => function,
        Err(error) => {
            let error = syn::Error::new(error.span(), "`#[audited]` goes on an `async fn`, an actix handler")
                .into_compile_error();
            return quote! { #error #item };
        }
    };
    let mut mistakes = attr::Mistakes::default();
    let options = mistakes.take(Options::parse(options));
    let handler = mistakes.take(Handler::parse(&function));
    match (options, handler, mistakes.into_error()) {
        (Some(options), Some(handler), None) => expand::handler(&options, &handler, &function),
        (_, _, error) => {
            let error = error.map(syn::Error::into_compile_error);
            let stand_in = expand::stand_in(&function);
            quote! { #error #stand_in }
        }
    }
}
