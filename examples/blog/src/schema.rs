// @generated automatically by Diesel CLI.

pub mod sql_types {
    #[derive(diesel::query_builder::QueryId, Clone, diesel::sql_types::SqlType)]
    #[diesel(postgres_type(name = "post_status"))]
    pub struct PostStatus;
}

diesel::table! {
    comments (id) {
        id -> Int8,
        organization_id -> Int8,
        post_id -> Int8,
        author_id -> Int8,
        body -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    jobs (id) {
        id -> Int8,
        payload -> Jsonb,
        created_at -> Timestamptz,
        claimed_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    memberships (organization_id, user_id) {
        organization_id -> Int8,
        user_id -> Int8,
        role -> Text,
    }
}

diesel::table! {
    notifications (id) {
        id -> Int8,
        organization_id -> Int8,
        user_id -> Int8,
        post_id -> Int8,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    organizations (id) {
        id -> Int8,
        name -> Text,
    }
}

diesel::table! {
    use diesel::sql_types::*;
    use super::sql_types::PostStatus;

    posts (id) {
        id -> Int8,
        organization_id -> Int8,
        author_id -> Int8,
        title -> Text,
        body -> Text,
        status -> PostStatus,
        tags -> Array<Nullable<Text>>,
        price -> Nullable<Numeric>,
        meta -> Jsonb,
        views -> Int4,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    staff (user_id) {
        user_id -> Int8,
        role -> Text,
        organization_id -> Nullable<Int8>,
    }
}

diesel::table! {
    users (id) {
        id -> Int8,
        organization_id -> Int8,
        name -> Text,
        email -> Text,
        password_hash -> Text,
        created_at -> Timestamptz,
    }
}

diesel::joinable!(comments -> organizations (organization_id));
diesel::joinable!(comments -> posts (post_id));
diesel::joinable!(comments -> users (author_id));
diesel::joinable!(memberships -> organizations (organization_id));
diesel::joinable!(memberships -> users (user_id));
diesel::joinable!(notifications -> organizations (organization_id));
diesel::joinable!(notifications -> posts (post_id));
diesel::joinable!(notifications -> users (user_id));
diesel::joinable!(posts -> organizations (organization_id));
diesel::joinable!(posts -> users (author_id));
diesel::joinable!(staff -> organizations (organization_id));
diesel::joinable!(staff -> users (user_id));
diesel::joinable!(users -> organizations (organization_id));

diesel::allow_tables_to_appear_in_same_query!(
    comments,
    jobs,
    memberships,
    notifications,
    organizations,
    posts,
    staff,
    users,
);
