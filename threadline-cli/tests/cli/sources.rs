//! Reading sources: which models and tables count, what the database calls them, and what is wrong with them.

use insta::assert_snapshot;

use crate::host::{Host, MANIFEST, POST, SCHEMA, USER};

/// The tables that would be attached, one line each.
fn attached(host: &Host, line: &str) -> String {
    let printed = host.done(&format!("{line} --dry-run"));
    let lines = printed.lines().filter(|line| line.starts_with("added"));
    lines.map(|line| line.trim_start_matches("added").trim()).collect::<Vec<_>>().join("\n")
}

#[test]
fn names_are_those_of_the_database() {
    let host = Host::new(
        "#[derive(Audited)] #[diesel(table_name = odd)] #[threadline(exclude(type_, r#in), key(org, id))] struct Odd;
         #[derive(Audited)] #[diesel(table_name = users)] #[threadline(schema = \"blog\")] struct User;
         #[derive(Audited)] #[diesel(table_name = r#match)] struct Match;",
    );
    host.write(
        "src/schema.rs",
        r#"
        diesel::table! {
            use diesel::sql_types::*;
            use super::types::Status;

            /// Documented.
            #[sql_name = "Odd \"Table's\" Übung\\"]
            blog.odd (org, id) {
                /// Documented.
                #[sql_name = "Org Id"]
                #[max_length = 20]
                org -> Varchar,
                id -> Int8,
                #[sql_name = "type"]
                type_ -> Nullable<Array<Nullable<Text>>>,
                r#in -> super::types::Status,
            }
        }
        table! { users { id -> Int8 } }
        table! { r#match { id -> Int8 } }
        diesel::joinable!(odd -> users (id));
        "#,
    );
    host.done("generate");
    assert_snapshot!(host.newest_sql("up.sql"), @r#"
    SELECT threadline.attach('"match"'::regclass);
    SELECT threadline.attach(
        E'"blog"."Odd ""Table''s"" Übung\\"'::regclass,
        exclude => ARRAY['in', 'type'],
        key => ARRAY['Org Id', 'id']
    );
    SELECT threadline.attach('"blog"."users"'::regclass);
    "#);
    let record = host.read(&format!("{}/up.sql", host.newest()));
    assert!(
        record.contains(
            r#""columns":[["Org Id","Varchar"],["id","Int8"],["in","super::types::Status"],["type","Nullable<Array<Nullable<Text>>>"]]"#
        ),
        "{record}"
    );
}

#[test]
fn every_model_of_the_application_counts_and_nothing_else() {
    let host = Host::new(
        "
        pub mod inner { #[derive(Clone, ::threadline::Audited)] struct Inner; }
        #[cfg_attr(feature = \"a\", derive(Audited), diesel(table_name = conditional))] struct Named;
        #[cfg_attr(test, derive(Audited))] struct InTests;
        #[cfg(test)] mod unit { #[derive(Audited)] struct InTests; }
        #[cfg(all(unix, test))] #[derive(Audited)] struct InTests;
        #[derive(renamed::prelude::Audited)] struct Renamed;
        #[path = \"../shared/far.rs\"] mod far;
        #[cfg(test)] mod testing;
        ",
    );
    let model = |name: &str| format!("#[derive(Audited)] struct {name};");
    host.write("shared/far.rs", &model("Far"));
    host.write("src/bin/tool.rs", &model("Tool"));
    host.write("src/deep/down/mod.rs", &model("Deep"));
    host.write("src/models/testing.rs", &model("InTests"));
    host.write("src/models/testing/more.rs", "#[derive(Audited)] this is no Rust");
    host.write("tests/it.rs", &model("InTests"));
    host.write("examples/shown.rs", &model("InExamples"));
    host.write("build.rs", &model("InBuildScript"));
    host.write("src/vendored/Cargo.toml", MANIFEST);
    host.write("src/vendored/lib.rs", &model("OfAnotherPackage"));
    host.write("src/.hidden/lib.rs", &model("Hidden"));
    host.write("src/template.rs", "{{ no Rust either, but no model }}");
    let tables = attached(&host, "generate");
    assert_snapshot!(tables, @r#"
    "conditional": Named (src/models.rs:3)
    "deeps": Deep (src/deep/down/mod.rs:1)
    "fars": Far (shared/far.rs:1)
    "inners": Inner (src/models.rs:2)
    "renameds": Renamed (src/models.rs:7)
    "tools": Tool (src/bin/tool.rs:1)
    "#);
    assert_eq!(
        attached(&host, "generate --source src/deep --source src/bin"),
        "\
        \"deeps\": Deep (src/deep/down/mod.rs:1)\n\"tools\": Tool (src/bin/tool.rs:1)"
    );
}

#[test]
fn a_member_is_read_with_the_members_it_depends_on_and_the_root_with_all() {
    let host = Host::new("");
    let package =
        |name: &str, more: &str| format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{more}");
    host.write("Cargo.toml", "[workspace]\nresolver = \"3\"\nmembers = [\"app\", \"model\", \"tool\"]\n");
    host.write("app/Cargo.toml", &package("app", "[dependencies]\nmodel = { path = \"../model\" }\n"));
    host.write("app/src/main.rs", "#[derive(Audited)] struct App;");
    host.write("model/Cargo.toml", &package("model", "[dev-dependencies]\ntool = { path = \"../tool\" }\n"));
    host.write("model/src/lib.rs", "#[derive(Audited)] struct Model;");
    host.write("tool/Cargo.toml", &package("tool", "[lib]\npath = \"lib.rs\"\n"));
    host.write("tool/lib.rs", "#[derive(Audited)] struct Tool;");
    host.write("tool/tests/it.rs", "#[derive(Audited)] struct InTests;");
    let app = "\"apps\": App (app/src/main.rs:1)\n\"models\": Model (model/src/lib.rs:1)";
    assert_eq!(attached(&host, "generate --manifest-path app/Cargo.toml"), app);
    assert_eq!(attached(&host, "generate"), format!("{app}\n\"tools\": Tool (tool/lib.rs:1)"));
}

#[test]
fn of_several_tables_of_one_name_the_path_decides() {
    let host = Host::new("");
    host.write("src/blog.rs", "pub mod schema { table! { blog.posts { id -> Int8 } } }");
    host.write("src/shop.rs", "pub mod schema { table! { shop.posts { id -> Int8 } } }");
    host.write("src/schema.rs", "");
    let table_of = |module: &str, path: &str| {
        let model = format!("#[derive(Audited)] #[diesel(table_name = {path})] struct Post;");
        host.write("src/models.rs", "");
        host.write(module, &model);
        let attached = attached(&host, "generate");
        host.write(module, "");
        attached.split(':').next().map(String::from).expect("one table")
    };
    assert_eq!(table_of("src/models.rs", "crate::shop::schema::posts"), "\"shop\".\"posts\"");
    assert_eq!(table_of("src/models.rs", "blog::schema::posts"), "\"blog\".\"posts\"");
    assert_eq!(table_of("src/blog/models.rs", "super::schema::posts"), "\"blog\".\"posts\"");
    assert_eq!(table_of("src/shop/models.rs", "super::schema::posts"), "\"shop\".\"posts\"");
    host.write("src/models.rs", POST);
    assert_snapshot!(host.refused("generate"), @r"
    the models cannot be audited as they are
    src/models.rs:1: `posts` may be the `table!` at src/blog.rs:1 or src/shop.rs:1; write its path in `#[diesel(table_name = ..)]`
    ");
    // Two that say the same are no choice.
    host.write("src/shop.rs", "pub mod schema { table! { blog.posts { id -> Int8 } } }");
    host.write("src/models.rs", &POST.replace("#[threadline(ignore(views))]", ""));
    assert_eq!(attached(&host, "generate"), "\"blog\".\"posts\": Post (src/models.rs:1)");
}

#[test]
fn two_models_of_one_table_must_agree() {
    let agreeing = "#[derive(Audited)] #[diesel(table_name = users)] #[threadline(mask(email), exclude(password_hash))] struct B;";
    let host = Host::new(&format!("{USER}{agreeing}"));
    assert_eq!(attached(&host, "generate"), "\"users\": User (src/models.rs:1)");
    host.write(
        "src/models.rs",
        &format!("{USER}{}", agreeing.replace("exclude", "mask_placeholder = \"x\", exclude")),
    );
    assert_snapshot!(host.refused("generate"), @r#"
    the models cannot be audited as they are
    User (src/models.rs:1) and B (src/models.rs:2) both audit "users", but not alike; give both the same `#[threadline(..)]`
    "#);
    // Neither can be said to be right, so the search path is not asked.
    host.write(
        "src/models.rs",
        &format!("{POST}#[derive(Audited)] #[diesel(table_name = other)] struct Other;"),
    );
    host.write(
        "src/schema.rs",
        &format!("{SCHEMA} table! {{ #[sql_name = \"posts\"] public.other {{ id -> Int8 }} }}"),
    );
    assert_snapshot!(host.refused("generate"), @r#"
    the models cannot be audited as they are
    Other (src/models.rs:2) and Post (src/models.rs:1) may audit one table, "public"."posts"; name the schema for both or for neither
    "#);
}

#[test]
fn all_mistakes_of_all_models_are_reported_where_they_are() {
    let host = Host::new(
        "
        #[derive(Audited)] #[diesel(table_name = posts)] #[threadline(pk(id), mask(title, id))] struct Post;
        #[derive(Audited)] #[threadline(exclude(pasword_hash), mask(emial), key(org))] struct User;
        #[derive(Audited)] #[diesel(table_name = orders)] #[threadline(schema = \"blog\")] struct Order;
        #[derive(Audited)] #[diesel(primary_key(a, b))] struct Line;
        #[derive(Audited)] #[diesel(table_name = lines)] #[threadline(key(a, b))] struct LineByKey;
        ",
    );
    host.write(
        "src/orders.rs",
        "table! { shop.orders { id -> Int8 } } table! { lines (b, a) { a -> Int8, b -> Int8 } }",
    );
    assert_snapshot!(host.refused("generate"), @r#"
    the models cannot be audited as they are
    src/models.rs:2:71: unknown option `pk`; did you mean `key(column, ..)`?
    src/models.rs:2:91: column `id` is part of the key, so it cannot be masked: it tells the rows apart
    src/models.rs:3:49: model `User`: `users` has no column `pasword_hash`, but `id`, `org_id`, `email`, `password_hash` (src/schema.rs:5)
    src/models.rs:3:69: model `User`: `users` has no column `emial`, but `id`, `org_id`, `email`, `password_hash` (src/schema.rs:5)
    src/models.rs:3:81: model `User`: `users` has no column `org`, but `id`, `org_id`, `email`, `password_hash` (src/schema.rs:5)
    src/models.rs:4:81: `table!` puts this table into the schema "shop"; say the same or nothing
    src/models.rs:5:64: the primary key is (a, b) here, but (b, a) in `table!` (src/orders.rs:1); say `#[diesel(primary_key(b, a))]`, or declare a key with `#[threadline(key(..))]`
    "#);
    assert_eq!(host.migrations().len(), 2, "nothing was written");
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_its_line() {
    let host = Host::new("\n#[derive(Audited)]\nstruct Post {\n    id: i64\n    title: String,\n}\n");
    host.write("src/schema.rs", "table! {\n    posts (id) {\n        id -> ,\n    }\n}\n");
    assert_snapshot!(host.refused("generate"), @r"
    cannot read the sources
    src/models.rs:5:5: expected `,`
    src/schema.rs:3:15: expected identifier
    ");
}

#[test]
fn a_place_without_a_package_is_told_how_to_name_one() {
    let host = Host::new(POST);
    std::fs::remove_file(host.path("Cargo.toml")).expect("written by `new`");
    assert_snapshot!(host.refused("generate"), @"no Cargo.toml here or above; name one with `--manifest-path`, or sources with `--source`");
    host.write("Cargo.toml", "[package");
    assert!(host.refused("generate").starts_with("cargo cannot read "));
}
