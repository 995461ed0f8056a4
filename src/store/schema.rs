//! The columns as diesel sees them, which are the same on both databases. The migrations create the tables.

diesel::table! {
    users (id) {
        id -> Integer,
        name -> Text,
        name_folded -> Text,
        email -> Nullable<Text>,
        email_folded -> Nullable<Text>,
        password -> Text,
        password_version -> Integer,
        is_admin -> Bool,
        is_disabled -> Bool,
        created_at -> Timestamp,
        community_sites -> Text,
        restricted_tags -> Text,
        avatar -> Text,
        plex_usernames -> Text,
        is_automatic -> Bool,
        key_epoch -> Integer,
    }
}

diesel::table! {
    api_keys (id) {
        id -> BigInt,
        user_id -> Integer,
        device -> Text,
        device_folded -> Text,
        hash -> Binary,
        sealed -> Nullable<Binary>,
        sealed_with -> Nullable<Text>,
        created_at -> Timestamp,
        expires_at -> Nullable<Timestamp>,
        is_renewable -> Bool,
        last_used_at -> Nullable<Timestamp>,
        last_used_from -> Nullable<Text>,
        epoch -> Integer,
        kind -> Text,
        scope -> Text,
        hosts -> Nullable<Text>,
        gateway_hash -> Nullable<Binary>,
    }
}

diesel::table! {
    revoked_keys (user_id) {
        user_id -> Integer,
        epoch -> Integer,
    }
}

diesel::table! {
    one_time_links (user_id) {
        user_id -> Integer,
        hash -> Binary,
        expires_at -> Timestamp,
    }
}

diesel::table! {
    changes (user_id) {
        user_id -> Integer,
        number -> BigInt,
    }
}

diesel::table! {
    preferences (name) {
        name -> Text,
        value -> Text,
    }
}

diesel::table! {
    login_failures (account, network) {
        failed_at -> BigInt,
        pending_at -> BigInt,
        failures -> Integer,
        pending -> Integer,
        stale_minute -> Integer,
        account -> Binary,
        network -> Binary,
    }
}

diesel::table! {
    known_networks (user_id, network) {
        user_id -> Integer,
        network -> Text,
        last_login_at -> Timestamp,
    }
}

diesel::joinable!(api_keys -> users (user_id));
diesel::joinable!(one_time_links -> users (user_id));
diesel::allow_tables_to_appear_in_same_query!(users, api_keys);
diesel::allow_tables_to_appear_in_same_query!(users, one_time_links);
