DROP TRIGGER user_changed ON users;
CREATE TRIGGER user_changed AFTER UPDATE OF id, name, is_admin, is_disabled, key_epoch ON users
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_user_changed();
DROP TRIGGER key_changed ON api_keys;
CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, created_at, expires_at, is_renewable, epoch, kind,
    scope, hosts ON api_keys
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_key_changed();
DROP INDEX api_keys_gateway_hash;
ALTER TABLE api_keys DROP COLUMN gateway_hash;
