-- SQL by hand may also change the id of a user to that of a deleted user.
CREATE TRIGGER epoch_chosen_for_new_id AFTER UPDATE OF id ON users
WHEN OLD.id <> NEW.id AND (
    EXISTS (SELECT 1 FROM api_keys WHERE user_id = NEW.id AND epoch >= NEW.key_epoch)
    OR EXISTS (SELECT 1 FROM revoked_keys WHERE user_id = NEW.id AND epoch >= NEW.key_epoch)
) BEGIN
    UPDATE users SET key_epoch = 1 + max(
        coalesce((SELECT max(epoch) FROM api_keys WHERE user_id = NEW.id), 0),
        coalesce((SELECT epoch FROM revoked_keys WHERE user_id = NEW.id), 0)
    )
    WHERE id = NEW.id;
END;
