-- Older programs keep working, and need no stop: the hashes of sessions and gateway keys have prefixes that those
-- programs do not know, so they reject such keys instead of taking them for full keys.

-- 'device', or 'session' for the session of a browser.
ALTER TABLE api_keys ADD COLUMN kind TEXT NOT NULL DEFAULT 'device' CHECK (kind IN ('device', 'session'));
-- 'full', or 'gateway' for a key that only forward-auth accepts. No login may return such a key, so it is not sealed.
ALTER TABLE api_keys ADD COLUMN scope TEXT NOT NULL DEFAULT 'full'
    CHECK (scope = 'full' OR (scope = 'gateway' AND sealed IS NULL));
-- The hosts for which a gateway key is good, separated by commas. Null for every host.
ALTER TABLE api_keys ADD COLUMN hosts TEXT CHECK (hosts IS NULL OR scope = 'gateway');

-- The change feed also reports changes of these columns.
DROP TRIGGER key_changed ON api_keys;
CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, created_at, expires_at, is_renewable, epoch, kind,
    scope, hosts ON api_keys
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_key_changed();

-- At most one link for each user, with which the user sets a password.
CREATE TABLE one_time_links (
    user_id INTEGER PRIMARY KEY NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- SHA-256 of a prefix and the link's 16 random bytes.
    hash BYTEA NOT NULL UNIQUE,
    expires_at TIMESTAMP NOT NULL
);

-- A password change revokes the link, also one by an older program or by SQL by hand.
CREATE FUNCTION shoko_auth_revoke_link() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    DELETE FROM one_time_links WHERE user_id = OLD.id;
    RETURN NULL;
END $$;
CREATE TRIGGER link_revoked AFTER UPDATE OF password_version ON users
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_revoke_link();
