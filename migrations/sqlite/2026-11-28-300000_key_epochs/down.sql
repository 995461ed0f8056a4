DROP TRIGGER user_changed;
CREATE TRIGGER user_changed AFTER UPDATE OF id, name, is_admin, is_disabled ON users BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;

DROP TRIGGER epoch_chosen;
DROP TRIGGER revoked_keys_queued;
DROP TRIGGER keys_of_deleted_user_queued;
DROP TABLE revoked_keys;
CREATE TABLE rebuilt_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device TEXT NOT NULL,
    device_folded TEXT NOT NULL,
    -- SHA-256 of the key's 16 bytes.
    hash BLOB NOT NULL UNIQUE,
    -- The sealed key. Null for a key that no later login returns.
    sealed BLOB,
    created_at TIMESTAMP NOT NULL,
    expires_at TIMESTAMP,
    -- Whether the holder may get another expiring key before this key expires.
    is_renewable BOOLEAN NOT NULL DEFAULT FALSE,
    -- When the key was last used, and from which address. Written up to a minute later.
    last_used_at TIMESTAMP,
    last_used_from TEXT
);
INSERT INTO rebuilt_keys (id, user_id, device, device_folded, hash, sealed, created_at, expires_at, is_renewable, last_used_at, last_used_from)
SELECT id, user_id, device, device_folded, hash, sealed, created_at, expires_at, is_renewable, last_used_at, last_used_from
FROM api_keys
WHERE EXISTS (SELECT 1 FROM users WHERE users.id = user_id AND key_epoch = epoch);
-- The ids of deleted keys must not be used again.
DELETE FROM sqlite_sequence WHERE name = 'rebuilt_keys';
INSERT INTO sqlite_sequence (name, seq) SELECT 'rebuilt_keys', seq FROM sqlite_sequence WHERE name = 'api_keys';
DROP TABLE api_keys;
ALTER TABLE rebuilt_keys RENAME TO api_keys;

CREATE UNIQUE INDEX api_keys_of_device ON api_keys (user_id, device_folded) WHERE sealed IS NOT NULL;
CREATE INDEX api_keys_of_user ON api_keys (user_id);
CREATE TRIGGER key_deleted AFTER DELETE ON api_keys BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.user_id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;

CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, expires_at, is_renewable ON api_keys BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.user_id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;

-- REPLACE deletes rows without firing the triggers on DELETE.
CREATE TRIGGER key_replaced BEFORE INSERT ON api_keys
WHEN EXISTS (
    SELECT 1 FROM api_keys WHERE id = NEW.id OR hash = NEW.hash
    OR (sealed IS NOT NULL AND user_id = NEW.user_id AND device_folded = NEW.device_folded)
) BEGIN
    INSERT INTO changes (user_id, number)
    SELECT user_id, (SELECT coalesce(max(number), 0) FROM changes) + row_number() OVER ()
    FROM (
        SELECT DISTINCT user_id FROM api_keys WHERE id = NEW.id OR hash = NEW.hash
        OR (sealed IS NOT NULL AND user_id = NEW.user_id AND device_folded = NEW.device_folded)
    )
    WHERE TRUE
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;

ALTER TABLE users DROP COLUMN key_epoch;
