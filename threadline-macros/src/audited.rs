//! `#[derive(Audited)]`: quotes what `threadline_model` has read and checked.
//!
//! A misspelt column is rustc's message on the user's token, and one message only, so each token is emitted once. The
//! declared key is needed twice, as types and as names; hence the aliases.

use proc_macro2::TokenStream;
use quote::{format_ident, quote};
use syn::ext::IdentExt;
use syn::{Attribute, Data, DeriveInput, Ident, LitStr};
use threadline_model::{ActorPolicy, AuditedModel, OnTruncate};

/// The expansion of the derive; with mistakes, their messages and an implementation that keeps rustc from adding its own.
pub(crate) fn expand(input: &DeriveInput) -> TokenStream {
    match AuditedModel::from_derive_input(input) {
        Ok(model) => {
            let audited = implementation(&model);
            let registered = registration(&model);
            quote! { #audited #registered }
        }
        Err(mistakes) => {
            let mistakes = mistakes.into_compile_error();
            let audited = without_options(input).as_ref().map(implementation);
            quote! { #mistakes #audited }
        }
    }
}

/// The model as if nothing were said in `#[threadline(..)]`; `None` when that is not what is wrong with it.
fn without_options(input: &DeriveInput) -> Option<AuditedModel> {
    let mut input = input.clone();
    let ours = |attr: &Attribute| attr.path().is_ident("threadline");
    input.attrs.retain(|attr| !ours(attr));
    if let Data::Struct(data) = &mut input.data {
        data.fields.iter_mut().for_each(|field| field.attrs.retain(|attr| !ours(attr)));
    }
    AuditedModel::from_derive_input(&input).ok()
}

fn implementation(model: &AuditedModel) -> TokenStream {
    let AuditedModel { ident, table, .. } = model;
    let (impl_generics, ty_generics, where_clause) = model.generics.split_for_impl();

    let names = |columns: &[Ident]| {
        let columns = columns.iter().map(|column| name_of(&quote!(#table::#column)));
        quote!(&[#(#columns),*])
    };
    let aliases: Vec<Ident> =
        (0..model.key.len()).map(|index| format_ident!("ThreadlineKey{index}")).collect();
    let declared_key = &model.key;
    let key_types: Vec<TokenStream> = if aliases.is_empty() {
        model.primary_key.iter().map(|column| quote!(#table::#column)).collect()
    } else {
        aliases.iter().map(|alias| quote!(#alias)).collect()
    };
    let key_names = aliases.iter().map(|alias| name_of(&quote!(#alias)));

    let exclude = names(&model.exclude);
    let mask = names(&model.mask);
    let ignore = names(&model.ignore);
    let scope = option(model.scope.as_ref().map(|column| name_of(&quote!(#table::#column))));
    let schema = option(model.schema.as_ref().map(text));
    let mask_placeholder = option(model.mask_placeholder.as_ref().map(text));
    let on_truncate = match model.on_truncate {
        OnTruncate::Record => quote!(Record),
        OnTruncate::Keep => quote!(Keep),
        OnTruncate::Refuse => quote!(Refuse),
    };
    let actor_policy = match model.actor_policy {
        ActorPolicy::Allow => quote!(Allow),
        ActorPolicy::Require => quote!(Require),
    };

    quote! {
        const _: () = {
            #(type #aliases = #table::#declared_key;)*

            #[automatically_derived]
            impl #impl_generics ::threadline::Audited for #ident #ty_generics #where_clause {
                type KeyColumns = (#(#key_types,)*);

                const AUDIT: ::threadline::AuditSpec<'static> = ::threadline::AuditSpec {
                    schema: #schema,
                    exclude: #exclude,
                    mask: #mask,
                    mask_placeholder: #mask_placeholder,
                    ignore: #ignore,
                    key: &[#(#key_names),*],
                    scope: #scope,
                    on_truncate: ::threadline::OnTruncate::#on_truncate,
                    actor_policy: ::threadline::ActorPolicy::#actor_policy,
                };
            }
        };
    }
}

/// Tells the running program of the model. A generic struct is no one type that could be named there.
fn registration(model: &AuditedModel) -> Option<TokenStream> {
    let ident = &model.ident;
    let name = LitStr::new(&ident.unraw().to_string(), ident.span());
    model.generics.params.is_empty().then(|| {
        quote! {
            ::threadline::__private::inventory::submit! {
                ::threadline::AuditedModel::of::<#ident>(::core::module_path!(), #name)
            }
        }
    })
}

/// The column's name in the database, which `#[sql_name]` may make another than its identifier.
fn name_of(column: &TokenStream) -> TokenStream {
    quote!(<#column as ::threadline::__private::diesel::Column>::NAME)
}

fn text(literal: &LitStr) -> TokenStream {
    quote!(#literal)
}

fn option(value: Option<TokenStream>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use syn::{File, parse_quote};

    use super::*;

    fn expanded(input: DeriveInput) -> String {
        let file: File = syn::parse2(expand(&input)).expect("the expansion is a list of items");
        prettyplease::unparse(&file)
    }

    #[test]
    fn every_option_becomes_a_field_of_the_constant() {
        assert_snapshot!(expanded(parse_quote! {
            #[diesel(table_name = crate::schema::memberships, primary_key(org_id, user_id))]
            #[threadline(exclude(token), mask(email), mask_placeholder = "[HIDDEN]", ignore(seen_at), key(r#type, user_id))]
            #[threadline(scope(org_id), schema = "blog", on_truncate = "keep", actor_policy = "require")]
            struct Membership;
        }), @r#"
        const _: () = {
            type ThreadlineKey0 = crate::schema::memberships::r#type;
            type ThreadlineKey1 = crate::schema::memberships::user_id;
            #[automatically_derived]
            impl ::threadline::Audited for Membership {
                type KeyColumns = (ThreadlineKey0, ThreadlineKey1);
                const AUDIT: ::threadline::AuditSpec<'static> = ::threadline::AuditSpec {
                    schema: ::core::option::Option::Some("blog"),
                    exclude: &[
                        <crate::schema::memberships::token as ::threadline::__private::diesel::Column>::NAME,
                    ],
                    mask: &[
                        <crate::schema::memberships::email as ::threadline::__private::diesel::Column>::NAME,
                    ],
                    mask_placeholder: ::core::option::Option::Some("[HIDDEN]"),
                    ignore: &[
                        <crate::schema::memberships::seen_at as ::threadline::__private::diesel::Column>::NAME,
                    ],
                    key: &[
                        <ThreadlineKey0 as ::threadline::__private::diesel::Column>::NAME,
                        <ThreadlineKey1 as ::threadline::__private::diesel::Column>::NAME,
                    ],
                    scope: ::core::option::Option::Some(
                        <crate::schema::memberships::org_id as ::threadline::__private::diesel::Column>::NAME,
                    ),
                    on_truncate: ::threadline::OnTruncate::Keep,
                    actor_policy: ::threadline::ActorPolicy::Require,
                };
            }
        };
        ::threadline::__private::inventory::submit! {
            ::threadline::AuditedModel::of:: < Membership > (::core::module_path!(),
            "Membership")
        }
        "#);
    }

    #[test]
    fn a_model_without_options_is_keyed_by_diesels_primary_key() {
        assert_snapshot!(expanded(parse_quote! {
            struct Post;
        }), @r#"
        const _: () = {
            #[automatically_derived]
            impl ::threadline::Audited for Post {
                type KeyColumns = (posts::id,);
                const AUDIT: ::threadline::AuditSpec<'static> = ::threadline::AuditSpec {
                    schema: ::core::option::Option::None,
                    exclude: &[],
                    mask: &[],
                    mask_placeholder: ::core::option::Option::None,
                    ignore: &[],
                    key: &[],
                    scope: ::core::option::Option::None,
                    on_truncate: ::threadline::OnTruncate::Record,
                    actor_policy: ::threadline::ActorPolicy::Allow,
                };
            }
        };
        ::threadline::__private::inventory::submit! {
            ::threadline::AuditedModel::of:: < Post > (::core::module_path!(), "Post")
        }
        "#);
    }

    #[test]
    fn a_generic_model_is_audited_but_not_registered() {
        assert_snapshot!(expanded(parse_quote! {
            struct Post<'a, T: Clone> where T: 'static { meta: &'a T }
        }), @r"
        const _: () = {
            #[automatically_derived]
            impl<'a, T: Clone> ::threadline::Audited for Post<'a, T>
            where
                T: 'static,
            {
                type KeyColumns = (posts::id,);
                const AUDIT: ::threadline::AuditSpec<'static> = ::threadline::AuditSpec {
                    schema: ::core::option::Option::None,
                    exclude: &[],
                    mask: &[],
                    mask_placeholder: ::core::option::Option::None,
                    ignore: &[],
                    key: &[],
                    scope: ::core::option::Option::None,
                    on_truncate: ::threadline::OnTruncate::Record,
                    actor_policy: ::threadline::ActorPolicy::Allow,
                };
            }
        };
        ");
    }

    #[test]
    fn a_mistake_leaves_an_implementation_so_that_rustc_has_nothing_to_add() {
        assert_snapshot!(expanded(parse_quote! {
            #[threadline(pk(id), mask(id))]
            struct Post { #[threadline(mask)] email: String }
        }), @r#"
        ::core::compile_error! {
            "`#[threadline(..)]` goes on the struct and names the column: `#[threadline(mask(column))]`"
        }
        ::core::compile_error! {
            "unknown option `pk`; did you mean `key(column, ..)`?"
        }
        ::core::compile_error! {
            "column `id` is part of the key, so it cannot be masked: it tells the rows apart"
        }
        const _: () = {
            #[automatically_derived]
            impl ::threadline::Audited for Post {
                type KeyColumns = (posts::id,);
                const AUDIT: ::threadline::AuditSpec<'static> = ::threadline::AuditSpec {
                    schema: ::core::option::Option::None,
                    exclude: &[],
                    mask: &[],
                    mask_placeholder: ::core::option::Option::None,
                    ignore: &[],
                    key: &[],
                    scope: ::core::option::Option::None,
                    on_truncate: ::threadline::OnTruncate::Record,
                    actor_policy: ::threadline::ActorPolicy::Allow,
                };
            }
        };
        "#);
        assert_snapshot!(expanded(parse_quote! {
            enum Post {}
        }), @r#"
        ::core::compile_error! {
            "`Audited` is for structs: a model of the rows of one table"
        }
        "#);
    }
}
