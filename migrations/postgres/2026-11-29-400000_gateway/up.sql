-- Older programs keep working, and need no stop.

-- The hash by which forward-auth finds the session whose cookie a browser sends to guarded services. It is that of a
-- secret that is derived from the session's secret, for one cookie domain. Null without such a cookie.
ALTER TABLE api_keys ADD COLUMN gateway_hash BYTEA;
CREATE INDEX api_keys_gateway_hash ON api_keys (gateway_hash) WHERE gateway_hash IS NOT NULL;

-- The change feed also reports changes of these columns.
DROP TRIGGER key_changed ON api_keys;
CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, created_at, expires_at, is_renewable, epoch, kind,
    scope, hosts, gateway_hash ON api_keys
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_key_changed();
DROP TRIGGER user_changed ON users;
CREATE TRIGGER user_changed AFTER UPDATE OF id, name, email, is_admin, is_disabled, key_epoch ON users
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_user_changed();
