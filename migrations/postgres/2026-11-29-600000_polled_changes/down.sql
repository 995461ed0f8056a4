DROP FUNCTION shoko_auth_changes_since;
CREATE OR REPLACE FUNCTION shoko_auth_key_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shoko_auth_changes', OLD.user_id::text);
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION shoko_auth_user_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shoko_auth_changes', OLD.id::text);
    RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION shoko_auth_all_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('shoko_auth_changes', '');
    RETURN NULL;
END $$;
DROP TABLE changes;
