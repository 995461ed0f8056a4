-- Each change that may invalidate a key or change its user stores the next number with the user's id. A node polls for
-- numbers above the last one that it has seen.
CREATE TABLE changes (
    user_id INTEGER PRIMARY KEY NOT NULL,
    number INTEGER NOT NULL UNIQUE
);

CREATE TRIGGER key_deleted AFTER DELETE ON api_keys BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.user_id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;

CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, expires_at, is_renewable ON api_keys BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.user_id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;

CREATE TRIGGER user_deleted AFTER DELETE ON users BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;

CREATE TRIGGER user_changed AFTER UPDATE OF id, name, is_admin, is_disabled ON users BEGIN
    INSERT INTO changes (user_id, number) VALUES (OLD.id, (SELECT coalesce(max(number), 0) + 1 FROM changes))
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

CREATE TRIGGER user_replaced BEFORE INSERT ON users
WHEN EXISTS (
    SELECT 1 FROM users WHERE id = NEW.id OR name_folded = NEW.name_folded OR email_folded = NEW.email_folded
) BEGIN
    INSERT INTO changes (user_id, number)
    SELECT id, (SELECT coalesce(max(number), 0) FROM changes) + row_number() OVER ()
    FROM users WHERE id = NEW.id OR name_folded = NEW.name_folded OR email_folded = NEW.email_folded
    ON CONFLICT (user_id) DO UPDATE SET number = excluded.number;
END;
