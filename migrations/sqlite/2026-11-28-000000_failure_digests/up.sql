-- The throttle's counts, with keys of a fixed size. A stranger chooses the names, and a name can take a kilobyte. The
-- old counts are dropped: they live at most a day. A network has one row, with an empty account. An account has one row
-- for each network from which it has logged in, and one row with an empty network for all other networks.
DROP TABLE login_failures;
CREATE TABLE login_failures (
    -- In microseconds since the Unix epoch: the first of the failures of a network, or the last one of an account.
    failed_at BIGINT NOT NULL,
    -- In microseconds since the Unix epoch: when the last attempt was recorded.
    pending_at BIGINT NOT NULL,
    failures INTEGER NOT NULL,
    -- The number of attempts that are not settled yet.
    pending INTEGER NOT NULL,
    -- The minute since the Unix epoch from which the row no longer matters. An index on a more precise time would grow
    -- much faster, because that time would change with each attempt.
    stale_minute INTEGER NOT NULL,
    -- The SHA-256 of a normalized name, which may belong to no user.
    account BLOB NOT NULL,
    -- The prefix length, followed by the bytes of the prefix.
    network BLOB NOT NULL,
    PRIMARY KEY (account, network)
);
CREATE INDEX login_failures_by_age ON login_failures (stale_minute);
