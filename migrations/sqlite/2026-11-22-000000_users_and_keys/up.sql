-- AUTOINCREMENT, because ids must never be reused: other services identify users by them.
CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL UNIQUE,
    email TEXT,
    email_folded TEXT UNIQUE,
    -- A PHC string. password_version changes when the password does, but not when the same password is hashed again.
    password TEXT NOT NULL,
    password_version INTEGER NOT NULL DEFAULT 1,
    is_admin BOOLEAN NOT NULL DEFAULT FALSE,
    is_disabled BOOLEAN NOT NULL DEFAULT FALSE,
    created_at TIMESTAMP NOT NULL,
    -- Values that Shoko's clients store with a user. This service does not use them. The first two are JSON arrays.
    community_sites TEXT NOT NULL DEFAULT '[]',
    restricted_tags TEXT NOT NULL DEFAULT '[]',
    avatar TEXT NOT NULL DEFAULT '',
    plex_usernames TEXT NOT NULL DEFAULT ''
);

CREATE TABLE api_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device TEXT NOT NULL,
    device_folded TEXT NOT NULL,
    -- SHA-256 of the key's 16 bytes.
    hash BLOB NOT NULL UNIQUE,
    -- The sealed key. Null for a key that no later login returns.
    sealed BLOB,
    created_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP
);

-- At most one sealed key for each device of a user.
CREATE UNIQUE INDEX api_keys_of_device ON api_keys (user_id, device_folded) WHERE sealed IS NOT NULL;
CREATE INDEX api_keys_of_user ON api_keys (user_id);
