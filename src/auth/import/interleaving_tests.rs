//! Tests of logins during an import. Each test runs the steps in a fixed order.

use std::cell::Cell;

use test_support::shoko_database::{self, ShokoVersion, key, sha512};
use test_support::{Backend, apply, both_databases};

use super::{ImportMode, ShokoDatabase};
use crate::auth::interleaving_tests::{
    Nodes, OLD, check_password, check_password_of, device, key_for, log_in, log_in_on, new_user,
};
use crate::error::LoginError;
use crate::model::{Actor, Name, RequestContext, UserRef};

/// Creates a Shoko database with these users and reads it. The first user is an administrator and has a key.
fn shoko_with(nodes: &Nodes, users: &[(&str, &str)]) -> ShokoDatabase {
    let folder = nodes.database.folder.path();
    let mut shoko = shoko_database::ShokoDatabase::create(folder, ShokoVersion::V5_3);
    for (id, (name, password)) in (1..).zip(users) {
        shoko.user(id, Some(name), Some(password), id == 1);
    }
    shoko.key(1, 1, "web-ui", &key(1));
    ShokoDatabase::read(&shoko.file).unwrap()
}

#[apply(both_databases!)]
fn a_first_login_of_the_administrator_fails_if_an_import_overtakes_it(backend: Backend) {
    let nodes = Nodes::on(backend);
    let credential = check_password(&nodes.one);
    let shoko = shoko_with(&nodes, &[("Default", "")]);
    let report = nodes.two.import_shoko(&shoko, ImportMode::Write, |_, _| ()).unwrap();
    assert_eq!(report.removed_admin.as_deref(), Some("Default"));
    let rejected = nodes.one.record_first_login(&credential);
    assert!(matches!(rejected, Err(LoginError::WrongCredentials)), "{rejected:?}");
    assert_eq!(
        nodes.database.texts("SELECT device AS text FROM api_keys"),
        ["web-ui"],
        "the database has only the imported key"
    );
}

#[apply(both_databases!)]
fn the_administrator_stays_if_their_first_login_overtakes_the_import(backend: Backend) {
    let nodes = Nodes::on(backend);
    let credential = check_password(&nodes.one);
    let shoko = shoko_with(&nodes, &[("Default", "")]);
    nodes.one.record_first_login(&credential).unwrap();
    let report = nodes.two.import_shoko(&shoko, ImportMode::Write, |_, _| ()).unwrap();
    assert_eq!(report.removed_admin, None);
    assert!(key_for(&nodes.one, &credential).is_ok());
}

#[apply(both_databases!)]
fn users_log_in_while_an_import_hashes_passwords(backend: Backend) {
    let nodes = Nodes::on(backend);
    let hash = sha512("correct horse battery");
    let shoko = shoko_with(&nodes, &[("alice", &hash), ("bob", &hash), ("carol", &hash)]);
    log_in(&nodes.one, OLD).unwrap();
    let logins = Cell::new(0);
    let report = nodes.two.import_shoko(&shoko, ImportMode::Write, |done, _| {
        // The device is new, so that the login has to write.
        log_in_on(&nodes.one, OLD, &format!("device {done}")).unwrap();
        logins.set(logins.get() + 1);
    });
    assert_eq!((report.unwrap().users.added, logins.get()), (3, 4));
}

#[apply(both_databases!)]
fn a_login_of_a_deleted_user_gets_no_key_of_an_imported_user_with_the_same_id(backend: Backend) {
    let nodes = Nodes::on(backend);
    let bob = nodes.one.create_user(Actor::Operator, &new_user("bob"), OLD).unwrap();
    let credential = check_password_of(&nodes.one, "bob");
    nodes.two.delete_user(Actor::Operator, &UserRef::Id(bob.id)).unwrap();
    let shoko = shoko_with(&nodes, &[("admin", ""), ("carol", "")]);
    nodes.two.import_shoko(&shoko, ImportMode::Write, |_, _| ()).unwrap();
    let carol = Name::parse("carol").unwrap();
    assert_eq!(nodes.one.user(&UserRef::Name(carol.clone())).unwrap().id, bob.id);
    let rejected = key_for(&nodes.one, &credential);
    assert!(matches!(rejected, Err(LoginError::WrongCredentials)), "no new key");
    let context = RequestContext::default();
    nodes.two.log_in_without_password(&carol, &device(), &context).unwrap();
    let rejected = key_for(&nodes.one, &credential);
    assert!(matches!(rejected, Err(LoginError::WrongCredentials)), "no existing key");
}
