DROP TRIGGER user_changed;
CREATE TRIGGER user_changed AFTER UPDATE OF id, name, is_admin, is_disabled, key_epoch ON users BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;
DROP TRIGGER key_changed;
CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, created_at, expires_at, is_renewable, epoch, kind,
    scope, hosts ON api_keys BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.user_id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;
DROP INDEX api_keys_gateway_hash;
ALTER TABLE api_keys DROP COLUMN gateway_hash;
