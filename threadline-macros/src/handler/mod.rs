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

#[cfg(test)]
mod tests {
    use insta::assert_snapshot;
    use quote::quote;
    use syn::File;

    use super::*;

    fn expanded(options: TokenStream, item: TokenStream) -> String {
        let file: File = syn::parse2(expand(options, item)).expect("the expansion is a list of items");
        prettyplease::unparse(&file)
    }

    #[test]
    fn every_option_is_a_call_and_everything_else_of_the_handler_stays() {
        assert_snapshot!(expanded(
            quote!(
                action = "post.created", verb = "create", category = "content", reason = "asked", comment = "by form",
                require_changes, record_failures, allow_missing_actor, response_header, isolation = "serializable"
            ),
            quote! {
                /// Creates a post.
                #[post("/posts")]
                #[tracing::instrument(skip(conn))]
                pub(crate) async fn create<T>(
                    web::Path((blog, _)): web::Path<(i64, String)>,
                    mut conn: &mut PgConnection,
                    mut form: web::Json<NewPost<T>>,
                ) -> Result<web::Json<Post>, AppError>
                where
                    T: DeserializeOwned + 'static,
                {
                    #![expect(clippy::too_many_lines)]
                    form.blog = blog;
                    Ok(web::Json(form.insert(conn)?))
                }
            },
        ), @r#"
        /// Creates a post.
        #[post("/posts")]
        #[tracing::instrument(skip(conn))]
        #[expect(clippy::too_many_lines)]
        pub(crate) async fn create<T>(
            web::Path((blog, _)): web::Path<(i64, String)>,
            conn: ::threadline_actix::__private::AuditedRequest<true>,
            mut form: web::Json<NewPost<T>>,
        ) -> Result<web::Json<Post>, AppError>
        where
            T: DeserializeOwned + 'static,
        {
            let __threadline_action = ::threadline_actix::__private::Action::new("post.created")
                .verb("create")
                .category("content")
                .reason("asked")
                .comment("by form");
            conn.run::<
                    web::Json<Post>,
                    AppError,
                    _,
                >(
                    |
                        __threadline_transaction: ::threadline_actix::__private::TransactionBuilder|
                    {
                        __threadline_transaction
                            .action(__threadline_action)
                            .isolation(::threadline_actix::__private::Isolation::Serializable)
                            .require_changes()
                            .record_failures()
                            .allow_missing_actor()
                    },
                    true,
                    move |
                        __threadline_connection: &mut ::threadline_actix::__private::PgConnection,
                        __threadline_transaction: &::threadline_actix::__private::OpenTransaction,
                    | -> Result<web::Json<Post>, AppError> {
                        let mut conn: &mut PgConnection = __threadline_connection;
                        {
                            form.blog = blog;
                            Ok(web::Json(form.insert(conn)?))
                        }
                    },
                )
                .await
        }
        "#);
    }

    #[test]
    fn capture_only_makes_no_action() {
        assert_snapshot!(expanded(
            quote!(capture_only),
            quote! {
                async fn touch(conn: &mut PgConnection) -> AppResult<&'static str> {
                    Ok("")
                }
            },
        ), @r#"
        async fn touch(
            conn: ::threadline_actix::__private::AuditedRequest<false>,
        ) -> AppResult<&'static str> {
            conn.run(
                    |
                        __threadline_transaction: ::threadline_actix::__private::TransactionBuilder|
                    __threadline_transaction,
                    false,
                    move |
                        __threadline_connection: &mut ::threadline_actix::__private::PgConnection,
                        __threadline_transaction: &::threadline_actix::__private::OpenTransaction,
                    | -> AppResult<&'static str> {
                        let conn: &mut PgConnection = __threadline_connection;
                        { Ok("") }
                    },
                )
                .await
        }
        "#);
    }

    #[test]
    fn http_response_is_taken_apart_and_the_open_transaction_is_lent() {
        assert_snapshot!(expanded(
            quote!(action = "post.created"),
            quote! {
                async fn create(_: &mut PgConnection, tx: &OpenTransaction) -> Result<HttpResponse, AppError> {
                    Ok(HttpResponse::Ok().body(tx.id().to_string()))
                }
            },
        ), @r#"
        async fn create(
            __threadline_request: ::threadline_actix::__private::AuditedRequest<false>,
        ) -> Result<HttpResponse, AppError> {
            let __threadline_action = ::threadline_actix::__private::Action::new("post.created");
            __threadline_request
                .run_response::<
                    AppError,
                    _,
                >(
                    |
                        __threadline_transaction: ::threadline_actix::__private::TransactionBuilder|
                    __threadline_transaction.action(__threadline_action),
                    false,
                    move |
                        __threadline_connection: &mut ::threadline_actix::__private::PgConnection,
                        __threadline_transaction: &::threadline_actix::__private::OpenTransaction,
                    | -> Result<HttpResponse, AppError> {
                        let _: &mut PgConnection = __threadline_connection;
                        let tx: &OpenTransaction = __threadline_transaction;
                        { Ok(HttpResponse::Ok().body(tx.id().to_string())) }
                    },
                )
                .await
        }
        "#);
    }

    #[test]
    fn action_of_an_argument_is_made_before_the_body_takes_the_argument() {
        assert_snapshot!(expanded(
            quote!(action = format!("post.{}", form.kind)),
            quote! {
                async fn change(conn: &mut PgConnection, form: web::Form<Change>) -> Result<(impl Responder, StatusCode), AppError> {
                    form.into_inner().apply(conn)
                }
            },
        ), @r#"
        async fn change(
            conn: ::threadline_actix::__private::AuditedRequest<false>,
            form: web::Form<Change>,
        ) -> Result<(impl Responder, StatusCode), AppError> {
            let __threadline_action = ::threadline_actix::__private::Action::new(
                format!("post.{}", form.kind),
            );
            conn.run::<
                    (_, StatusCode),
                    AppError,
                    _,
                >(
                    |
                        __threadline_transaction: ::threadline_actix::__private::TransactionBuilder|
                    __threadline_transaction.action(__threadline_action),
                    false,
                    move |
                        __threadline_connection: &mut ::threadline_actix::__private::PgConnection,
                        __threadline_transaction: &::threadline_actix::__private::OpenTransaction,
                    | -> Result<(_, StatusCode), AppError> {
                        let conn: &mut PgConnection = __threadline_connection;
                        { form.into_inner().apply(conn) }
                    },
                )
                .await
        }
        "#);
    }

    #[test]
    fn a_mistake_leaves_a_handler_so_that_actix_and_rustc_have_nothing_to_add() {
        assert_snapshot!(expanded(
            quote!(acton = "post.created"),
            quote! {
                #[post("/posts")]
                fn create(conn: PgConnection, form: web::Form<NewPost>, tx: &OpenTransaction) -> Result<impl Responder, AppError> {
                    Ok(form.insert(conn).await?)
                }
            },
        ), @r#"
        ::core::compile_error! {
            "unknown option `acton`; expected `action`, `verb`, `category`, `reason`, `comment`, `isolation` (each `= \"..\"`), `require_changes`, `record_failures`, `capture_only`, `allow_missing_actor` or `response_header`"
        }
        ::core::compile_error! {
            "an `#[audited]` handler is an `async fn`, as any handler of actix; its body is run on a blocking thread"
        }
        ::core::compile_error! {
            "the connection is missing: an `#[audited]` handler has one `&mut` parameter, `conn: &mut PgConnection`"
        }
        ::core::compile_error! {
            "`.await` in an `#[audited]` handler: its body runs on a blocking thread, inside the transaction; await in an extractor, or use `Audit::write` in a plain handler (an attribute that rewrites the body, such as `#[instrument]`, goes below `#[audited]`)"
        }
        #[post("/posts")]
        #[allow(unused, unreachable_code, clippy::all)]
        async fn create(
            form: web::Form<NewPost>,
            conn: ::threadline_actix::__private::AuditedRequest<true>,
            tx: ::threadline_actix::__private::AuditedRequest<true>,
        ) -> Result<impl Responder, AppError> {
            let _: ::core::option::Option<PgConnection>;
            let _: ::core::option::Option<&OpenTransaction>;
            let __threadline_never: Result<
                ::threadline_actix::__private::HttpResponse,
                AppError,
            > = ::core::panic!();
            __threadline_never
        }
        "#);
        assert_snapshot!(expanded(quote!(capture_only), quote!(struct Post;)), @r#"
        ::core::compile_error! {
            "`#[audited]` goes on an `async fn`, an actix handler"
        }
        struct Post;
        "#);
    }
}
