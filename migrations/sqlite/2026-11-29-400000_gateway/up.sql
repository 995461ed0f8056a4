-- Older programs keep working, and need no stop.

-- The hash by which forward-auth finds the session whose cookie a browser sends to guarded services. It is that of a
-- secret that is derived from the session's secret, for one cookie domain. Null without such a cookie.
ALTER TABLE api_keys ADD COLUMN gateway_hash BLOB;
CREATE INDEX api_keys_gateway_hash ON api_keys (gateway_hash) WHERE gateway_hash IS NOT NULL;

-- The change feed also reports changes of these columns.
DROP TRIGGER key_changed;
CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, created_at, expires_at, is_renewable, epoch, kind,
    scope, hosts, gateway_hash ON api_keys BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.user_id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;
DROP TRIGGER user_changed;
CREATE TRIGGER user_changed AFTER UPDATE OF id, name, email, is_admin, is_disabled, key_epoch ON users BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;
