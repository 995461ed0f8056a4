-- AUTOINCREMENT: an id is never given out twice, because other services remember users by it.
CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    name TEXT NOT NULL,
    name_folded TEXT NOT NULL UNIQUE,
    email TEXT,
    email_folded TEXT UNIQUE,
    -- A PHC string; changed together with password_version, except by a rehash of the same password.
    password TEXT NOT NULL,
    password_version INTEGER NOT NULL DEFAULT 1,
    is_admin BOOLEAN NOT NULL DEFAULT FALSE,
    is_disabled BOOLEAN NOT NULL DEFAULT FALSE,
    created_at TIMESTAMP NOT NULL,
    -- What Shoko's clients keep with a user and nobody here reads; the first two as JSON arrays.
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
    -- The key, sealed; null when this row is not the one to hand out again for its device.
    sealed BLOB,
    created_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP
);

-- One key to hand out for a user's device.
CREATE UNIQUE INDEX api_keys_of_device ON api_keys (user_id, device_folded) WHERE sealed IS NOT NULL;
CREATE INDEX api_keys_of_user ON api_keys (user_id);
