ALTER TABLE api_keys DROP COLUMN is_renewable;
