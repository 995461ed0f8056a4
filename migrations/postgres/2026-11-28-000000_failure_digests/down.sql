DROP TABLE login_failures;
CREATE TABLE login_failures (
    account TEXT NOT NULL,
    network TEXT NOT NULL,
    failures INTEGER NOT NULL,
    first_at TIMESTAMP NOT NULL,
    last_at TIMESTAMP NOT NULL,
    pending INTEGER NOT NULL,
    pending_at TIMESTAMP NOT NULL,
    PRIMARY KEY (account, network)
);
CREATE INDEX login_failures_by_age ON login_failures (last_at);
