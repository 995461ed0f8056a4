-- Small server-wide values that clients store. This service does not use them.
CREATE TABLE preferences (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
