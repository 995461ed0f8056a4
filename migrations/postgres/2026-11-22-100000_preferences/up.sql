-- Small server-wide values that clients store and this service does not read.
CREATE TABLE preferences (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
