-- Notifies every node of each change that may invalidate a key or change its user. The payload is the user's id. It is
-- empty if the change may concern all users.
CREATE FUNCTION shoko_auth_key_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shoko_auth_changes', OLD.user_id::text);
    RETURN NULL;
END $$;

CREATE FUNCTION shoko_auth_user_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shoko_auth_changes', OLD.id::text);
    RETURN NULL;
END $$;

CREATE FUNCTION shoko_auth_all_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shoko_auth_changes', '');
    RETURN NULL;
END $$;

CREATE TRIGGER key_deleted AFTER DELETE ON api_keys FOR EACH ROW EXECUTE FUNCTION shoko_auth_key_changed();
CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, expires_at, is_renewable ON api_keys
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_key_changed();
CREATE TRIGGER keys_truncated AFTER TRUNCATE ON api_keys FOR EACH STATEMENT EXECUTE FUNCTION shoko_auth_all_changed();
CREATE TRIGGER user_deleted AFTER DELETE ON users FOR EACH ROW EXECUTE FUNCTION shoko_auth_user_changed();
CREATE TRIGGER user_changed AFTER UPDATE OF id, name, is_admin, is_disabled ON users
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_user_changed();
