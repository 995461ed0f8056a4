//! Servers behind a pooler that shares sessions: PgBouncer in transaction mode.

use std::thread;

use test_support::pooler::{PoolMode, Pooler};
use test_support::process::ServerProcess;
use test_support::wait::wait_until;
use test_support::{Backend, Client, TestDatabase};

use crate::change_feed::{wait_for_change_feed, wait_until_feed_is};
use crate::support::{ADMIN, ADMIN_PASSWORD, Server, UseDatabase};

/// Servers on one database behind a pooler.
struct Nodes {
    one: Server,
    other: Server,
    database: TestDatabase,
    pooler: Pooler,
}

impl Nodes {
    fn behind_pooler(mode: PoolMode) -> Self {
        let database = TestDatabase::create(Backend::Postgres);
        let (pooler, url) = database.pooler(mode);
        let mut settings = database.server_settings();
        settings.core.database = url.parse().unwrap();
        Self {
            one: Server::start(settings.clone()),
            other: Server::start(settings),
            database,
            pooler,
        }
    }

    fn add_user(&self, name: &str) {
        let arguments = ["user", "add", name, "--password-stdin"];
        assert!(self.database.run(&arguments, "Bassoon-hill").status.success());
    }

    fn wait_until_up(&self) {
        wait_until_feed_is(&self.one, "up");
        wait_until_feed_is(&self.other, "up");
    }
}

/// Asserts that keys are verified without a query, so their table can be missing.
fn assert_caches(server: &Client, key: &str, database: &TestDatabase) {
    // Retry: on a busy machine, the change feed can be stale for a while, and nothing is cached during that time.
    wait_until("a key is accepted without its table", || {
        assert!(server.accepts(key));
        database.execute("ALTER TABLE api_keys RENAME TO elsewhere");
        let status = server.get("/api/auth/verify").header("apikey", key).send().status;
        database.execute("ALTER TABLE elsewhere RENAME TO api_keys");
        status == 200
    });
}

#[test]
#[ignore = "needs PostgreSQL and PgBouncer: run ./scripts/test"]
fn behind_a_pooler_that_shares_sessions_keys_are_cached_and_revocations_on_other_nodes_arrive() {
    let nodes = Nodes::behind_pooler(PoolMode::Transaction);
    nodes.add_user("bob");
    let admin = nodes.one.admin_key();
    nodes.wait_until_up();
    assert_caches(&nodes.other, &admin, &nodes.database);
    for _ in 0..5 {
        let key = nodes.one.key("bob", "Bassoon-hill", "tv");
        assert!(nodes.one.accepts(&key) && nodes.other.accepts(&key));
        assert_eq!(nodes.one.delete(&format!("/api/auth?apikey={key}")).send().status, 200);
        assert!(!nodes.one.accepts(&key));
        wait_for_change_feed();
        assert!(!nodes.other.accepts(&key));
        assert!(nodes.other.accepts(&admin));
    }
}

#[test]
#[ignore = "needs PostgreSQL and PgBouncer: run ./scripts/test"]
fn a_transaction_that_began_first_and_is_committed_last_is_not_missed() {
    let nodes = Nodes::behind_pooler(PoolMode::Transaction);
    for user in ["bob", "eve"] {
        nodes.add_user(user);
    }
    let [first, second] = ["bob", "eve"].map(|user| nodes.one.key(user, "Bassoon-hill", "tv"));
    nodes.wait_until_up();
    assert!(nodes.one.accepts(&first) && nodes.one.accepts(&second));

    let (mut one, mut two) = (nodes.database.session(), nodes.database.session());
    let revoke = |user| format!("BEGIN; DELETE FROM api_keys USING users WHERE user_id = users.id AND name = '{user}'");
    one(&revoke("bob"));
    two(&revoke("eve"));
    two("COMMIT");
    wait_for_change_feed();
    assert!(!nodes.one.accepts(&second), "the second transaction has been committed");
    assert!(nodes.one.accepts(&first), "the first transaction has not");
    wait_for_change_feed();
    one("COMMIT");
    wait_for_change_feed();
    assert!(!nodes.one.accepts(&first), "the first transaction has been committed");
}

#[test]
#[ignore = "needs PostgreSQL and PgBouncer: run ./scripts/test"]
fn many_clients_of_two_nodes_can_share_few_sessions() {
    let nodes = Nodes::behind_pooler(PoolMode::Transaction);
    thread::scope(|scope| {
        for number in 0..24 {
            let node = if number % 2 == 0 { &nodes.one } else { &nodes.other };
            scope.spawn(move || {
                for round in 0..4 {
                    let key = node.key(ADMIN, ADMIN_PASSWORD, &format!("device {number} {round}"));
                    assert!(node.accepts(&key));
                    assert_eq!(node.delete(&format!("/api/auth?apikey={key}")).send().status, 200);
                    assert!(!node.accepts(&key));
                }
            });
        }
    });
}

#[test]
#[ignore = "needs PostgreSQL and PgBouncer: run ./scripts/test"]
fn a_running_node_polls_when_its_pooler_begins_to_share_sessions() {
    let mut nodes = Nodes::behind_pooler(PoolMode::Session);
    let key = nodes.one.admin_key();
    nodes.wait_until_up();
    assert!(nodes.other.accepts(&key));
    nodes.pooler.restart(PoolMode::Transaction);
    for node in [&nodes.one, &nodes.other] {
        wait_until("logins work again", || {
            node.log_in(ADMIN, ADMIN_PASSWORD, "new").status == 200
        });
    }
    nodes.wait_until_up();
    assert_caches(&nodes.other, &key, &nodes.database);
    assert_eq!(nodes.one.delete(&format!("/api/auth?apikey={key}")).send().status, 200);
    wait_for_change_feed();
    assert!(!nodes.other.accepts(&key));
}

#[test]
#[ignore = "needs PostgreSQL and PgBouncer: run ./scripts/test"]
fn the_start_says_that_changes_are_polled() {
    let database = TestDatabase::create(Backend::Postgres);
    for (mode, is_polled) in [(PoolMode::Transaction, true), (PoolMode::Session, false)] {
        let (_pooler, url) = database.pooler(mode);
        let mut command = database.program(&["serve"]);
        command.env("DATABASE_URL", url).env("RUST_LOG", "info");
        let mut server = ServerProcess::start(command);
        server.signal("TERM");
        let (_, log) = server.wait_until_exit();
        assert_eq!(log.contains("a pooler that shares sessions"), is_polled, "{log}");
    }
}
