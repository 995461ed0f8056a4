-- Set for the administrator that `serve` created, until its first login. An import may remove such a user.
ALTER TABLE users ADD COLUMN is_automatic BOOLEAN NOT NULL DEFAULT FALSE;
