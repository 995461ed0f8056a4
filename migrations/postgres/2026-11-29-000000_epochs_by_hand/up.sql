-- TRUNCATE fires no row triggers, and no foreign key makes it truncate the keys too.
CREATE FUNCTION shoko_auth_queue_all_keys() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO revoked_keys (user_id, epoch) SELECT user_id, max(epoch) FROM api_keys GROUP BY user_id
    ON CONFLICT (user_id) DO UPDATE SET epoch = greatest(revoked_keys.epoch, excluded.epoch);
    RETURN NULL;
END $$;
CREATE TRIGGER all_keys_queued AFTER TRUNCATE ON users
    FOR EACH STATEMENT EXECUTE FUNCTION shoko_auth_queue_all_keys();
CREATE TRIGGER users_truncated AFTER TRUNCATE ON users FOR EACH STATEMENT EXECUTE FUNCTION shoko_auth_all_changed();

-- SQL by hand may also change the id of a user to that of a deleted user.
CREATE TRIGGER epoch_chosen_for_new_id BEFORE UPDATE OF id ON users
    FOR EACH ROW WHEN (OLD.id <> NEW.id) EXECUTE FUNCTION shoko_auth_choose_epoch();
