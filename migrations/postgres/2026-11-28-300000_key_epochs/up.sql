-- Revoking all keys of a user, or deleting the user, takes effect with a change to one row. The rows of the keys are
-- deleted later, in small batches. A key is valid only if its user exists and both have the same epoch.
ALTER TABLE users ADD COLUMN key_epoch INTEGER NOT NULL DEFAULT 0;
ALTER TABLE api_keys ADD COLUMN epoch INTEGER NOT NULL DEFAULT 0;
-- Without ON DELETE CASCADE, deleting a user does not delete the keys in the same transaction.
ALTER TABLE api_keys DROP CONSTRAINT api_keys_user_id_fkey;

-- At most one sealed key for each device of a user. Keys of earlier epochs are revoked and do not count.
DROP INDEX api_keys_of_device;
CREATE UNIQUE INDEX api_keys_of_device ON api_keys (user_id, epoch, device_folded) WHERE sealed IS NOT NULL;
-- This index is also used to count a user's unexpired keys.
DROP INDEX api_keys_of_user;
CREATE INDEX api_keys_of_user ON api_keys (user_id, epoch, expires_at);
CREATE INDEX api_keys_by_expiry ON api_keys (expires_at) WHERE expires_at IS NOT NULL;

-- The queue of keys to delete: for each row, all keys of the user with this epoch or an earlier one.
CREATE TABLE revoked_keys (
    user_id INTEGER PRIMARY KEY NOT NULL,
    epoch INTEGER NOT NULL
);

-- Triggers fill the queue, so that it also contains keys that are revoked with SQL by hand.
CREATE FUNCTION shoko_auth_queue_revoked_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO revoked_keys (user_id, epoch)
    VALUES (OLD.id, CASE TG_OP WHEN 'DELETE' THEN OLD.key_epoch ELSE NEW.key_epoch - 1 END)
    ON CONFLICT (user_id) DO UPDATE SET epoch = greatest(revoked_keys.epoch, excluded.epoch);
    RETURN NULL;
END $$;
CREATE TRIGGER revoked_keys_queued AFTER DELETE OR UPDATE OF key_epoch ON users
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_queue_revoked_keys();

-- An import may reuse the id of a deleted user whose keys are not deleted yet. The new user must not own them, and the
-- queue must not contain the new user's own keys.
CREATE FUNCTION shoko_auth_choose_epoch() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.key_epoch := greatest(
        NEW.key_epoch,
        (SELECT max(epoch) + 1 FROM api_keys WHERE user_id = NEW.id),
        (SELECT epoch + 1 FROM revoked_keys WHERE user_id = NEW.id)
    );
    RETURN NEW;
END $$;
CREATE TRIGGER epoch_chosen BEFORE INSERT ON users FOR EACH ROW EXECUTE FUNCTION shoko_auth_choose_epoch();

-- The change feed also reports changes of epochs.
DROP TRIGGER key_changed ON api_keys;
CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, expires_at, is_renewable, epoch ON api_keys
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_key_changed();
DROP TRIGGER user_changed ON users;
CREATE TRIGGER user_changed AFTER UPDATE OF id, name, is_admin, is_disabled, key_epoch ON users
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_user_changed();
