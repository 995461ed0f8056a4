-- True for the administrator that the first start created, until a login or a change. An import may remove this user.
ALTER TABLE users ADD COLUMN is_automatic BOOLEAN NOT NULL DEFAULT FALSE;
