//! Nodes that poll for changes, as behind a pooler that shares sessions.

use std::time::{Duration, Instant};

use test_support::Backend;
use test_support::wait::wait_until;

use super::Nodes;
use crate::store::{Change, ChangeFeed};

/// Returns a feed that polls the table of changes.
fn polling_feed(nodes: &Nodes) -> ChangeFeed {
    let store = &nodes.one.store;
    store.opener().session_mode().set_shared();
    ChangeFeed::open(store.opener(), &store.echo_sender()).unwrap()
}

/// Returns all changes until the feed has polled. It polls only every few milliseconds.
fn next_changes(feed: &mut ChangeFeed) -> Vec<Change> {
    let start = Instant::now();
    let mut changes = Vec::new();
    wait_until("the feed polls", || {
        let (new, at) = feed.poll().unwrap();
        changes.extend(new);
        at >= start
    });
    changes
}

fn number_of_rows(nodes: &Nodes) -> usize {
    nodes.database.texts("SELECT xid::text AS text FROM changes").len()
}

const CHANGE: &str = "UPDATE users SET is_disabled = NOT is_disabled WHERE id = 1";

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn each_change_is_reported_once() {
    let nodes = Nodes::on(Backend::Postgres);
    let mut feed = polling_feed(&nodes);
    assert_eq!(next_changes(&mut feed), []);
    nodes.database.execute(&format!("{CHANGE}; {CHANGE}"));
    assert_eq!(next_changes(&mut feed), [Change::User(1)]);
    assert_eq!(next_changes(&mut feed), []);
    nodes.database.execute("TRUNCATE api_keys");
    assert_eq!(next_changes(&mut feed), [Change::Unknown]);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn many_changes_at_once_count_as_changes_of_all_users() {
    let nodes = Nodes::on(Backend::Postgres);
    let mut feed = polling_feed(&nodes);
    let insert = |number| format!("INSERT INTO changes (user_id) SELECT generate_series(1, {number})");
    nodes.database.execute(&insert(1_000));
    assert_eq!(next_changes(&mut feed).len(), 1_000);
    nodes.database.execute(&insert(1_001));
    assert_eq!(next_changes(&mut feed), [Change::Unknown]);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn a_change_of_an_old_transaction_is_not_deleted_before_it_is_seen() {
    let nodes = Nodes::on(Backend::Postgres);
    let mut feed = polling_feed(&nodes);
    let prune = || nodes.two.store.prune_changes(Duration::ZERO).unwrap();
    prune();
    nodes.database.execute(CHANGE);
    let mut session = nodes.database.session();
    session("BEGIN; INSERT INTO changes (user_id) VALUES (7)");
    // Records which rows are visible now. Only the next call deletes these rows.
    prune();
    session("COMMIT");
    assert_eq!(number_of_rows(&nodes), 2);
    prune();
    assert_eq!(number_of_rows(&nodes), 1);
    assert!(next_changes(&mut feed).contains(&Change::User(7)));
    prune();
    assert_eq!(number_of_rows(&nodes), 0);
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn changes_are_incomplete_after_a_pause_or_on_another_server() {
    let nodes = Nodes::on(Backend::Postgres);
    let is_complete = |snapshot: &str, at: &str, server: &str| {
        let query = format!(
            "SELECT next.is_complete::text AS text
             FROM shoko_auth_changes_since(NULL, NULL, NULL, 1) AS seen,
                  shoko_auth_changes_since({snapshot}, {at}, {server}, 1) AS next"
        );
        nodes.database.texts(&query).remove(0) == "true"
    };
    let (snapshot, at, server) = ("seen.snapshot::pg_snapshot", "seen.at", "seen.server");
    assert!(is_complete(snapshot, at, server));
    assert!(is_complete(snapshot, "seen.at - 29000000", server));
    assert!(
        !is_complete(snapshot, "seen.at - 31000000", server),
        "rows may have been deleted"
    );
    assert!(
        !is_complete(snapshot, "seen.at + 1", server),
        "the server's clock went back"
    );
    assert!(!is_complete(snapshot, at, "'another'"));
    assert!(
        !is_complete("'900000000:900000000:'", at, server),
        "numbers of transactions went back"
    );
}
