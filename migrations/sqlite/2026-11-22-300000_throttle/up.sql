-- The throttle's counts. A client network has one row, with account ''. An account has one row for each network from
-- which it has logged in, and one row with network '' for all other networks.
CREATE TABLE login_failures (
    -- A normalized name, which may belong to no user.
    account TEXT NOT NULL,
    network TEXT NOT NULL,
    failures INTEGER NOT NULL,
    first_at TIMESTAMP NOT NULL,
    last_at TIMESTAMP NOT NULL,
    -- The number of attempts that are not settled yet, and when the last of them was recorded.
    pending INTEGER NOT NULL,
    pending_at TIMESTAMP NOT NULL,
    PRIMARY KEY (account, network)
);
CREATE INDEX login_failures_by_age ON login_failures (last_at);

-- The networks from which a user has logged in.
CREATE TABLE known_networks (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    network TEXT NOT NULL,
    last_login_at TIMESTAMP NOT NULL,
    PRIMARY KEY (user_id, network)
);
CREATE INDEX known_networks_by_age ON known_networks (last_login_at);
