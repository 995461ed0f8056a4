-- Whether the holder may get another expiring key before this key expires.
ALTER TABLE api_keys ADD COLUMN is_renewable BOOLEAN NOT NULL DEFAULT FALSE;
