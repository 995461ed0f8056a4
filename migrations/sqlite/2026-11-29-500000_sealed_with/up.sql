-- The id of the sealing secret that opens `sealed`. Null if a program sealed the key that does not know this column: older
-- programs keep working, and newer ones then try all secrets.
ALTER TABLE api_keys ADD COLUMN sealed_with TEXT;
