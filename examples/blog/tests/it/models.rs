//! What the models register.

use threadline::audited_models;

/// All but `jobs`, which is no more than what is left to do. That the migrations say the same is held by a test of the command: `threadline-cli/tests/cli/example.rs`.
#[test]
fn the_tables_of_the_example_have_audited_models() {
    let mut tables: Vec<(String, String)> = audited_models()
        .iter()
        .map(|model| (model.table().expect("no contradiction").name().to_owned(), model.path()))
        .collect();
    tables.sort();
    let expected = [
        ("comments", "blog::models::comment::Comment"),
        ("memberships", "blog::models::organization::Membership"),
        ("notifications", "blog::models::notification::Notification"),
        ("organizations", "blog::models::organization::Organization"),
        ("posts", "blog::models::post::Post"),
        ("staff", "blog::models::staff::Staff"),
        ("users", "blog::models::user::User"),
    ];
    assert_eq!(tables, expected.map(|(table, model)| (table.to_owned(), model.to_owned())));
}
