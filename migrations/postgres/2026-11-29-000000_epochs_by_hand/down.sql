DROP TRIGGER epoch_chosen_for_new_id ON users;
DROP TRIGGER users_truncated ON users;
DROP TRIGGER all_keys_queued ON users;
DROP FUNCTION shoko_auth_queue_all_keys;
