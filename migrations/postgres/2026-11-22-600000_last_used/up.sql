-- When a key was used last, and from which address: written behind, a minute late at most.
ALTER TABLE api_keys ADD COLUMN last_used_at TIMESTAMP;
ALTER TABLE api_keys ADD COLUMN last_used_from TEXT;
