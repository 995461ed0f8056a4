//! The checks and changes that `restore` makes in the restored database.

use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;

use crate::restore::{Site, success};
use crate::support::UseDatabase;

/// Adds a user with a one-time link.
fn invite(site: &Site, name: &str) {
    let output = site.database.run(&["user", "invite", name], "");
    assert!(output.status.success(), "{output:?}");
}

fn number(site: &Site, query: &str) -> u64 {
    site.database.texts(query)[0].parse().unwrap()
}

fn id(site: &Site, name: &str) -> u64 {
    number(
        site,
        &format!("SELECT CAST(id AS TEXT) AS text FROM users WHERE name = '{name}'"),
    )
}

#[test]
fn one_time_links_of_a_backup_do_not_work() {
    let site = Site::new();
    invite(&site, "bob");
    success(&site.back_up("one.db"));
    let report = success(&site.restore("one.db", &[]));
    assert!(report.contains("One-time links no longer work."), "{report}");
    let links = "SELECT CAST(user_id AS TEXT) AS text FROM one_time_links";
    assert!(site.database.texts(links).is_empty());
}

#[test]
fn ids_of_users_are_not_used_again_after_a_restore() {
    let site = Site::new();
    invite(&site, "bob");
    success(&site.back_up("one.db"));
    invite(&site, "carol");
    let carol = id(&site, "carol");
    success(&site.restore("one.db", &[]));
    invite(&site, "dave");
    assert!(id(&site, "dave") > carol);
}

#[test]
fn a_database_whose_last_ids_are_damaged_is_replaced() {
    let site = Site::new();
    invite(&site, "bob");
    success(&site.back_up("one.db"));
    let page = number(
        &site,
        "SELECT CAST(rootpage AS TEXT) AS text FROM sqlite_master WHERE name = 'sqlite_sequence'",
    );
    let bytes = number(&site, "SELECT CAST(page_size AS TEXT) AS text FROM pragma_page_size");
    let file = OpenOptions::new().write(true).open(site.file()).unwrap();
    file.write_all_at(&[0xff; 100], (page - 1) * bytes).unwrap();
    success(&site.restore("one.db", &[]));
    assert_eq!(id(&site, "bob"), 1);
}

#[test]
fn a_backup_without_a_table_or_a_column_is_rejected() {
    for (change, part) in [
        ("DROP TABLE login_failures", "table login_failures"),
        (
            "ALTER TABLE preferences RENAME COLUMN value TO other",
            "column preferences.value",
        ),
    ] {
        let site = Site::new();
        invite(&site, "bob");
        site.database.execute(change);
        success(&site.back_up("one.db"));
        let output = site.restore("one.db", &[]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && error.contains(part), "{output:?}");
    }
}
