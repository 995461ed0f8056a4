-- Small values of the whole server that clients store and nobody here reads.
CREATE TABLE preferences (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
);
