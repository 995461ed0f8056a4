//! Logins during an import: each test puts the steps in a fixed order.

use std::cell::Cell;

use super::{ImportMode, ShokoDatabase};
use crate::auth::interleaving_tests::database::{Backend, on_both_databases};
use crate::auth::interleaving_tests::{Nodes, OLD, admin, device, log_in, log_in_on, old};
use crate::error::LoginError;
use crate::model::RequestContext;
use shoko_database::{Generation, key, sha512};

#[path = "../../../tests/api/shoko_database.rs"]
#[expect(dead_code, reason = "the API tests use more of it")]
mod shoko_database;

/// Returns the content of a Shoko database with these users, of which the first is an administrator with a key.
fn shoko_with(nodes: &Nodes, users: &[(&str, &str)]) -> ShokoDatabase {
    let folder = nodes.database.folder.path();
    let mut shoko = shoko_database::ShokoDatabase::create(folder, Generation::V5_3);
    for (id, (name, password)) in (1..).zip(users) {
        shoko.user(id, Some(name), Some(password), id == 1);
    }
    shoko.key(1, 1, "web-ui", &key(1));
    ShokoDatabase::read(&shoko.file).unwrap()
}

on_both_databases! {
    fn a_login_with_the_generated_administrators_password_fails_if_an_import_overtakes_it(nodes: Nodes) {
        let checked = nodes.one.check_password(&admin(), &old(), &RequestContext::default()).unwrap();
        let shoko = shoko_with(&nodes, &[("Default", "")]);
        let report = nodes.two.import_shoko(&shoko, ImportMode::Write, |_, _| ()).unwrap();
        assert_eq!(report.removed_admin.as_deref(), Some("Default"));
        let refused = nodes.one.record_first_login(&checked);
        assert!(matches!(refused, Err(LoginError::WrongCredentials)), "{refused:?}");
        assert_eq!(nodes.database.texts("SELECT device AS text FROM api_keys"), ["web-ui"], "only the imported key is there");
    }

    fn the_generated_administrator_stays_if_the_login_overtakes_the_import(nodes: Nodes) {
        let checked = nodes.one.check_password(&admin(), &old(), &RequestContext::default()).unwrap();
        let shoko = shoko_with(&nodes, &[("Default", "")]);
        nodes.one.record_first_login(&checked).unwrap();
        let report = nodes.two.import_shoko(&shoko, ImportMode::Write, |_, _| ()).unwrap();
        assert_eq!(report.removed_admin, None);
        assert!(nodes.one.key_for(&checked, &device(), None, &RequestContext::default()).is_ok());
    }

    fn users_log_in_while_an_import_hashes_passwords(nodes: Nodes) {
        let hash = sha512("correct horse battery");
        let shoko = shoko_with(&nodes, &[("alice", &hash), ("bob", &hash), ("carol", &hash)]);
        log_in(&nodes.one, OLD).unwrap();
        let logins = Cell::new(0);
        let report = nodes.two.import_shoko(&shoko, ImportMode::Write, |done, _| {
            // A new device, so that the login writes.
            log_in_on(&nodes.one, OLD, &format!("device {done}")).unwrap();
            logins.set(logins.get() + 1);
        });
        assert_eq!((report.unwrap().users.added, logins.get()), (3, 4));
    }
}
