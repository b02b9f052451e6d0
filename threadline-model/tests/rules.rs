//! What a model may say, and which token is told what when it may not.

use syn::ext::IdentExt;
use syn::{DeriveInput, Ident};
use threadline_model::{ActorPolicy, AuditedModel, OnTruncate};

/// The struct `User` with these attributes.
fn user(attributes: &str) -> DeriveInput {
    syn::parse_str(&format!("{attributes} struct User {{ id: i64 }}")).expect("the test's own source parses")
}

fn model(input: &DeriveInput) -> AuditedModel {
    AuditedModel::from_derive_input(input).unwrap_or_else(|error| panic!("{error}"))
}

/// Each mistake as `token: message`, in the order reported.
fn mistakes(input: &DeriveInput) -> Vec<String> {
    let Err(error) = AuditedModel::from_derive_input(input) else { return Vec::new() };
    let described = error.into_iter().map(|error| {
        let token = error.span().source_text().expect("the test's own source has text");
        format!("{token}: {error}")
    });
    described.collect()
}

fn names(columns: &[Ident]) -> Vec<String> {
    columns.iter().map(|column| column.unraw().to_string()).collect()
}

#[test]
fn every_option_is_read_from_however_many_attributes() {
    let model = model(&user(
        r##"
        #[diesel(table_name = crate::schema::users, primary_key(org_id, id), check_for_backend(diesel::pg::Pg))]
        #[threadline(exclude(password_hash, r#type), mask(email), mask_placeholder = "[HIDDEN]")]
        #[threadline()]
        #[threadline(ignore(views), key(org_id, user_id), scope(org_id), schema = r#"blog"#, on_truncate = "keep",)]
        #[threadline(actor_policy = "require")]
        "##,
    ));
    assert_eq!(names(&model.exclude), ["password_hash", "type"]);
    assert_eq!(names(&model.mask), ["email"]);
    assert_eq!(model.mask_placeholder.as_ref().map(syn::LitStr::value).as_deref(), Some("[HIDDEN]"));
    assert_eq!(names(&model.ignore), ["views"]);
    assert_eq!(names(&model.primary_key), ["org_id", "id"]);
    assert_eq!(names(model.key_columns()), ["org_id", "user_id"]);
    assert_eq!(model.scope.as_ref().map(ToString::to_string).as_deref(), Some("org_id"));
    assert_eq!(model.schema.as_ref().map(syn::LitStr::value).as_deref(), Some("blog"));
    assert_eq!(model.on_truncate, OnTruncate::Keep);
    assert_eq!(model.actor_policy, ActorPolicy::Require);
}

#[test]
fn table_and_primary_key_follow_diesel() {
    let table = |source: &str| {
        let model = model(&syn::parse_str(source).expect("the test's own source parses"));
        let path: Vec<String> =
            model.table.segments.iter().map(|segment| segment.ident.to_string()).collect();
        format!("{} ({})", path.join("::"), names(model.key_columns()).join(", "))
    };
    assert_eq!(table("struct Post;"), "posts (id)");
    assert_eq!(table("struct FooBarBaz<'a> { title: &'a str }"), "foo_bar_bazs (id)");
    assert_eq!(table("#[diesel(table_name = schema::posts)] struct P;"), "schema::posts (id)");
    assert_eq!(table("#[diesel(primary_key(a, r#type))] struct P;"), "ps (a, type)");
    assert_eq!(table(r#"#[table_name = "schema::posts"] #[primary_key(a)] struct P;"#), "schema::posts (a)");
    // What Diesel reads, or refuses, in the rest of its attribute is nothing to us.
    assert_eq!(
        table(
            "#[diesel(base_query_type = A<B, table_name>, ?!, 'x, treat_none_as_null = 3, table_name = t)] struct P;"
        ),
        "t (id)"
    );
}

#[test]
fn an_unknown_option_is_answered_with_the_one_that_was_meant() {
    let answer = |option: &str| mistakes(&user(&format!("#[threadline({option})]"))).join("\n");
    for (option, meant) in [
        ("pk(id)", "key(column, ..)"),
        ("primary_key(id)", "key(column, ..)"),
        ("primary_keys(id)", "key(column, ..)"),
        ("pkey = \"id\"", "key(column, ..)"),
        ("keys(id)", "key(column, ..)"),
        ("redact(email)", "mask(column, ..)"),
        ("except(email)", "exclude(column, ..)"),
        ("excluded(email)", "exclude(column, ..)"),
        ("exlude(email)", "exclude(column, ..)"),
        ("placeholder = \"x\"", "mask_placeholder = \"..\""),
        ("tenant(org_id)", "scope(column)"),
        ("on_trunkate = \"keep\"", "on_truncate = \"record|keep|refuse\""),
    ] {
        let name = option.split(['(', ' ']).next().expect("never empty");
        assert_eq!(answer(option), format!("{name}: unknown option `{name}`; did you mean `{meant}`?"));
    }
    assert_eq!(
        answer("table = \"posts\""),
        "table: unknown option `table`; the table is named by `#[diesel(table_name = ..)]`"
    );
    assert_eq!(
        answer("compress"),
        "compress: unknown option `compress`; expected one of `exclude(column, ..)`, `mask(column, ..)`, \
         `mask_placeholder = \"..\"`, `ignore(column, ..)`, `key(column, ..)`, `scope(column)`, `schema = \"..\"`, \
         `on_truncate = \"record|keep|refuse\"`, `actor_policy = \"allow|require\"`"
    );
}

#[test]
fn each_mistake_is_told_to_the_token_that_makes_it() {
    for (attributes, expected) in [
        // The form of an option.
        ("#[threadline]", vec!["threadline: expected `#[threadline(option, ..)]`"]),
        ("#[threadline(exclude)]", vec!["exclude: expected `exclude(column, ..)`"]),
        ("#[threadline(exclude())]", vec!["exclude(): expected `exclude(column, ..)`"]),
        ("#[threadline(mask[email])]", vec!["mask[email]: expected `mask(column, ..)`"]),
        (
            r#"#[threadline(exclude = "password_hash")]"#,
            vec![r#"exclude = "password_hash": expected `exclude(column, ..)`"#],
        ),
        (
            r#"#[threadline(exclude("password_hash", a.b))]"#,
            vec![
                r#""password_hash": expected the name of a column, without quotes"#,
                "a.b: expected the name of a column, as `table!` has it",
            ],
        ),
        ("#[threadline(schema(blog))]", vec![r#"schema(blog): expected `schema = ".."`"#]),
        ("#[threadline(schema = 5)]", vec![r#"schema = 5: expected `schema = ".."`"#]),
        (
            "#[threadline(on_truncate = keep)]",
            vec![r#"on_truncate = keep: expected `on_truncate = "record|keep|refuse"`"#],
        ),
        ("#[threadline(scope(a, b))]", vec!["b: a table has one scope; expected `scope(column)`"]),
        // The value of an option.
        (
            r#"#[threadline(on_truncate = "drop")]"#,
            vec![r#""drop": expected "record" or "keep" or "refuse""#],
        ),
        (r#"#[threadline(actor_policy = "")]"#, vec![r#""": expected "allow" or "require""#]),
        (
            r#"#[threadline(schema = "")]"#,
            vec![r#""": expected the name of a schema: 1 to 63 bytes, no NUL"#],
        ),
        (
            r#"#[threadline(mask(email), mask_placeholder = "a\nb")]"#,
            vec![
                r#""a\nb": expected a placeholder of 1 to 200 characters, none of them a control character"#,
            ],
        ),
        // Twice.
        (
            "#[threadline(mask(a))] #[threadline(mask(b))]",
            vec!["mask: option `mask` is given twice; name all its columns in one"],
        ),
        (
            r#"#[threadline(schema = "a", schema = "a")]"#,
            vec!["schema: option `schema` is given twice; remove one"],
        ),
        ("#[threadline(mask(kind, r#kind))]", vec!["r#kind: column `kind` is named twice in `mask`"]),
        // One column, two rules.
        (
            "#[threadline(mask(id), exclude(id))]",
            vec![
                "id: column `id` is part of the key, so it cannot be excluded: it tells the rows apart",
                "id: column `id` is part of the key, so it cannot be masked: it tells the rows apart",
            ],
        ),
        (
            "#[diesel(primary_key(org_id, user_id))] #[threadline(ignore(user_id), mask(id))]",
            vec![
                "user_id: column `user_id` is part of the key, so it cannot be ignored: it tells the rows apart",
            ],
        ),
        (
            "#[threadline(key(email), mask(email), exclude(id))]",
            vec!["email: column `email` is part of the key, so it cannot be masked: it tells the rows apart"],
        ),
        (
            "#[threadline(mask(email), exclude(email))]",
            vec!["email: column `email` is excluded already, so it cannot be masked; remove one of the two"],
        ),
        (
            "#[threadline(ignore(email), exclude(email))]",
            vec!["email: column `email` is excluded already, so it cannot be ignored; remove one of the two"],
        ),
        (
            "#[threadline(ignore(email), mask(email))]",
            vec!["email: column `email` is masked already, so it cannot be ignored; remove one of the two"],
        ),
        (
            "#[threadline(scope(org_id), mask(org_id), ignore(org_id))]",
            vec![
                "org_id: column `org_id` is the scope, so it cannot be masked: it is stored beside each change",
                "org_id: column `org_id` is the scope, so it cannot be ignored: it is stored beside each change",
            ],
        ),
        (
            r#"#[threadline(mask_placeholder = "-")]"#,
            vec![r#""-": nothing is masked: `mask_placeholder` needs a `mask(column, ..)`"#],
        ),
        // Diesel's side.
        (
            r#"#[diesel(table_name = "users")]"#,
            vec![r#""users": expected the path of a `table!`, for example `table_name = posts`"#],
        ),
    ] {
        assert_eq!(mistakes(&user(attributes)), expected, "{attributes}");
    }
}

#[test]
fn all_mistakes_are_reported_at_once_and_none_twice() {
    let input =
        user(r#"#[threadline(pk(id), mask(email, "x"), mask(y), exclude(email), mask_placeholder = "")]"#);
    assert_eq!(
        mistakes(&input),
        [
            "pk: unknown option `pk`; did you mean `key(column, ..)`?",
            r#""x": expected the name of a column, without quotes"#,
            "mask: option `mask` is given twice; name all its columns in one",
            "email: column `email` is excluded already, so it cannot be masked; remove one of the two",
            r#""": expected a placeholder of 1 to 200 characters, none of them a control character"#,
        ]
    );
    // Options that were written wrongly are no reason for more messages.
    assert_eq!(mistakes(&user(r#"#[threadline(mask, mask_placeholder = "-")]"#)).len(), 1);
    assert_eq!(mistakes(&user(r#"#[threadline(key("email"), exclude(id))]"#)).len(), 1);
}

#[test]
fn lengths_are_bytes_for_a_schema_and_characters_for_a_placeholder() {
    let schema = |name: &str| mistakes(&user(&format!("#[threadline(schema = {name:?})]"))).len();
    assert_eq!((schema(&"ü".repeat(31)), schema(&"ü".repeat(32)), schema("a\0")), (0, 1, 1));
    let placeholder = |text: &str| {
        mistakes(&user(&format!("#[threadline(mask(email), mask_placeholder = {text:?})]"))).len()
    };
    assert_eq!((placeholder(&"ü".repeat(200)), placeholder(&"ü".repeat(201))), (0, 1));
}

#[test]
fn an_attribute_on_a_field_is_refused_rather_than_ignored() {
    let input = syn::parse_str("struct User { id: i64, #[threadline(mask)] email: String }");
    assert_eq!(
        mistakes(&input.expect("the test's own source parses")),
        [
            "threadline: `#[threadline(..)]` goes on the struct and names the column: `#[threadline(mask(column))]`"
        ]
    );
}

#[test]
fn only_structs_are_models() {
    for source in ["enum User { A }", "union User { a: u8 }"] {
        let input = syn::parse_str(source).expect("the test's own source parses");
        let keyword = source.split(' ').next().expect("never empty");
        let expected = format!("{keyword}: `Audited` is for structs: a model of the rows of one table");
        assert_eq!(mistakes(&input), [expected]);
    }
}
