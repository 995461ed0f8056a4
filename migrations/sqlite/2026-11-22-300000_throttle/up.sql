-- What the throttle counts. Of a client network: account ''. Of an account: network '' for all networks together from
-- which nobody has logged in, else one from which somebody has.
CREATE TABLE login_failures (
    -- A folded name, whether there is such a user or not.
    account TEXT NOT NULL,
    network TEXT NOT NULL,
    failures INTEGER NOT NULL,
    first_at TIMESTAMP NOT NULL,
    last_at TIMESTAMP NOT NULL,
    -- Tries that have begun and are not yet counted, the last of them when.
    pending INTEGER NOT NULL,
    pending_at TIMESTAMP NOT NULL,
    PRIMARY KEY (account, network)
);
CREATE INDEX login_failures_by_age ON login_failures (last_at);

-- From where a user has logged in.
CREATE TABLE known_networks (
    user_id INTEGER NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    network TEXT NOT NULL,
    last_login_at TIMESTAMP NOT NULL,
    PRIMARY KEY (user_id, network)
);
CREATE INDEX known_networks_by_age ON known_networks (last_login_at);
