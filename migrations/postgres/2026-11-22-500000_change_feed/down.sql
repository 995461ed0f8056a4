DROP TRIGGER user_changed ON users;
DROP TRIGGER user_deleted ON users;
DROP TRIGGER keys_truncated ON api_keys;
DROP TRIGGER key_changed ON api_keys;
DROP TRIGGER key_deleted ON api_keys;
DROP FUNCTION shoko_auth_all_changed;
DROP FUNCTION shoko_auth_user_changed;
DROP FUNCTION shoko_auth_key_changed;
