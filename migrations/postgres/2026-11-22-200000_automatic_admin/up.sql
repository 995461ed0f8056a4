-- Made by `serve` because there was no administrator, and nobody has logged in as him yet: an import may remove him.
ALTER TABLE users ADD COLUMN is_automatic BOOLEAN NOT NULL DEFAULT FALSE;
