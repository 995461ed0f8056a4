-- When a key was last used, and from which address. Written up to a minute later.
ALTER TABLE api_keys ADD COLUMN last_used_at TIMESTAMP;
ALTER TABLE api_keys ADD COLUMN last_used_from TEXT;
