-- Revoking all keys of a user, or deleting the user, takes effect with a change to one row. The rows of the keys are
-- deleted later, in small batches. A key is valid only if its user exists and both have the same epoch.
ALTER TABLE users ADD COLUMN key_epoch INTEGER NOT NULL DEFAULT 0;

-- SQLite cannot drop a foreign key, so the table is rebuilt. Without ON DELETE CASCADE, deleting a user does not delete
-- the keys in the same transaction.
CREATE TABLE rebuilt_keys (
    id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
    user_id INTEGER NOT NULL,
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
    last_used_from TEXT,
    epoch INTEGER NOT NULL DEFAULT 0
);
INSERT INTO rebuilt_keys (id, user_id, device, device_folded, hash, sealed, created_at, expires_at, is_renewable, last_used_at, last_used_from)
SELECT id, user_id, device, device_folded, hash, sealed, created_at, expires_at, is_renewable, last_used_at, last_used_from
FROM api_keys;
-- The ids of deleted keys must not be used again.
DELETE FROM sqlite_sequence WHERE name = 'rebuilt_keys';
INSERT INTO sqlite_sequence (name, seq) SELECT 'rebuilt_keys', seq FROM sqlite_sequence WHERE name = 'api_keys';
DROP TABLE api_keys;
ALTER TABLE rebuilt_keys RENAME TO api_keys;

-- At most one sealed key for each device of a user. Keys of earlier epochs are revoked and do not count.
CREATE UNIQUE INDEX api_keys_of_device ON api_keys (user_id, epoch, device_folded) WHERE sealed IS NOT NULL;
-- This index is also used to count a user's unexpired keys.
CREATE INDEX api_keys_of_user ON api_keys (user_id, epoch, expires_at);
CREATE INDEX api_keys_by_expiry ON api_keys (expires_at) WHERE expires_at IS NOT NULL;

-- The queue of keys to delete: for each row, all keys of the user with this epoch or an earlier one.
CREATE TABLE revoked_keys (
    user_id INTEGER PRIMARY KEY NOT NULL,
    epoch INTEGER NOT NULL
);

-- Triggers fill the queue, so that it also contains keys that are revoked with SQL by hand.
CREATE TRIGGER keys_of_deleted_user_queued AFTER DELETE ON users BEGIN
    INSERT INTO revoked_keys (user_id, epoch) VALUES (OLD.id, OLD.key_epoch)
    ON CONFLICT (user_id) DO UPDATE SET epoch = max(epoch, excluded.epoch);
END;

CREATE TRIGGER revoked_keys_queued AFTER UPDATE OF key_epoch ON users BEGIN
    INSERT INTO revoked_keys (user_id, epoch) VALUES (OLD.id, NEW.key_epoch - 1)
    ON CONFLICT (user_id) DO UPDATE SET epoch = max(epoch, excluded.epoch);
END;

-- An import may reuse the id of a deleted user whose keys are not deleted yet. The new user must not own them, and the
-- queue must not contain the new user's own keys. If REPLACE replaces a user, this trigger revokes the keys of
-- the replaced user.
CREATE TRIGGER epoch_chosen AFTER INSERT ON users
WHEN EXISTS (SELECT 1 FROM api_keys WHERE user_id = NEW.id AND epoch >= NEW.key_epoch)
OR EXISTS (SELECT 1 FROM revoked_keys WHERE user_id = NEW.id AND epoch >= NEW.key_epoch) BEGIN
    UPDATE users SET key_epoch = 1 + max(
        coalesce((SELECT max(epoch) FROM api_keys WHERE user_id = NEW.id), 0),
        coalesce((SELECT epoch FROM revoked_keys WHERE user_id = NEW.id), 0)
    )
    WHERE id = NEW.id;
END;

-- The change feed also reports changes of epochs. The triggers on `api_keys` were dropped with the old table.
CREATE TRIGGER key_deleted AFTER DELETE ON api_keys BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.user_id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;

CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, expires_at, is_renewable, epoch ON api_keys BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.user_id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;

-- REPLACE deletes rows without firing the triggers on DELETE.
CREATE TRIGGER key_replaced BEFORE INSERT ON api_keys
WHEN EXISTS (
    SELECT 1 FROM api_keys WHERE id = NEW.id OR hash = NEW.hash
    OR (sealed IS NOT NULL AND user_id = NEW.user_id AND epoch = NEW.epoch
        AND device_folded = NEW.device_folded)
) BEGIN
    INSERT INTO changes (user_id, number)
    SELECT user_id, (SELECT coalesce(max(number), 0) FROM changes) + row_number() OVER ()
    FROM (
        SELECT DISTINCT user_id FROM api_keys WHERE id = NEW.id OR hash = NEW.hash
        OR (sealed IS NOT NULL AND user_id = NEW.user_id AND epoch = NEW.epoch
        AND device_folded = NEW.device_folded)
    )
    WHERE TRUE
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;

DROP TRIGGER user_changed;
CREATE TRIGGER user_changed AFTER UPDATE OF id, name, is_admin, is_disabled, key_epoch ON users BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;
