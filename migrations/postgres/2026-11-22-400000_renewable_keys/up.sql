-- Made to be renewed by its holder: another that expires may follow it.
ALTER TABLE api_keys ADD COLUMN is_renewable BOOLEAN NOT NULL DEFAULT FALSE;
