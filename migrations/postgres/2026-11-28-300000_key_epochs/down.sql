DELETE FROM api_keys WHERE NOT EXISTS (SELECT 1 FROM users WHERE users.id = user_id AND key_epoch = epoch);
DROP TRIGGER user_changed ON users;
CREATE TRIGGER user_changed AFTER UPDATE OF id, name, is_admin, is_disabled ON users
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_user_changed();
DROP TRIGGER key_changed ON api_keys;
CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, expires_at, is_renewable ON api_keys
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_key_changed();
DROP TRIGGER epoch_chosen ON users;
DROP FUNCTION shoko_auth_choose_epoch;
DROP TRIGGER revoked_keys_queued ON users;
DROP FUNCTION shoko_auth_queue_revoked_keys;
DROP TABLE revoked_keys;
DROP INDEX api_keys_by_expiry;
DROP INDEX api_keys_of_user;
CREATE INDEX api_keys_of_user ON api_keys (user_id);
DROP INDEX api_keys_of_device;
CREATE UNIQUE INDEX api_keys_of_device ON api_keys (user_id, device_folded) WHERE sealed IS NOT NULL;
ALTER TABLE api_keys ADD FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE;
ALTER TABLE api_keys DROP COLUMN epoch;
ALTER TABLE users DROP COLUMN key_epoch;
