DROP TRIGGER link_revoked ON users;
DROP FUNCTION shoko_auth_revoke_link();
DROP TABLE one_time_links;
DROP TRIGGER key_changed ON api_keys;
CREATE TRIGGER key_changed AFTER UPDATE OF id, user_id, device, hash, expires_at, is_renewable, epoch ON api_keys
    FOR EACH ROW EXECUTE FUNCTION shoko_auth_key_changed();
ALTER TABLE api_keys DROP COLUMN hosts;
ALTER TABLE api_keys DROP COLUMN scope;
ALTER TABLE api_keys DROP COLUMN kind;
