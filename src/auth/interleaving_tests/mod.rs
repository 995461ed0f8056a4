//! Tests of logins and password changes that run at the same time. Each test runs the steps in a fixed order.

/// Tests of audit events of requests whose key is revoked meanwhile.
mod audit;
/// Tests of nodes that poll for changes.
mod polled_changes;
/// Tests of revocations and demotions that run at the same time as other changes.
mod revocation;
/// Tests of sessions and one-time links during password changes.
mod sessions;

use std::convert::Infallible;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use test_support::database::SEALING_SECRET;
use test_support::wait::wait_until;
use test_support::{Backend, TestDatabase, apply, both_databases};

use super::{Auth, KeySelection, KeysAfterChange, LogIn};
use crate::clock::Clock;
use crate::error::{KeyError, LoginError, ManageError, ServiceError};
use crate::model::{
    Acceptance, Actor, Caller, Name, NewName, NewUser, ProfileChange, RequestContext, RequestedExpiry, SecretText,
    UserChange, UserRef,
};
use crate::secret::key::Key;
use crate::settings::{CoreSettings, FirstAdmin, KeyLimits, LINK_LIFETIME, MAX_WAIT, SessionLimits};
use crate::store::Credential;

pub(super) const OLD: &str = "Tr0mbone-lake";
const NEW: &str = "Oboe-n-harbour";

/// Two nodes on one database, which has an administrator with the password [`OLD`].
pub(super) struct Nodes {
    pub one: Auth,
    /// Hashes passwords with more rounds than `one`.
    pub two: Auth,
    pub database: TestDatabase,
}

impl Nodes {
    pub fn on(backend: Backend) -> Self {
        let database = TestDatabase::create(backend);
        let mut settings = core_settings(&database);
        let one = Auth::open(&settings).unwrap();
        settings.pbkdf2_rounds = 2000;
        let two = Auth::open(&settings).unwrap();
        let admin = FirstAdmin {
            name: NewName::parse(ADMIN).unwrap(),
            password: Some(SecretText::new(OLD.to_owned())),
        };
        one.create_first_admin(&admin).unwrap();
        Self { one, two, database }
    }

    /// Waits until `node` waits for a lock that the other node holds.
    fn wait_until_blocked(&self, node: &Auth) {
        const WAITING: &str = "SELECT CAST(pid AS TEXT) AS text FROM pg_stat_activity \
                               WHERE datname = current_database() AND wait_event_type = 'Lock'";
        wait_until("the node waits for the lock", || match self.database.backend {
            Backend::Postgres => !self.database.texts(WAITING).is_empty(),
            // SQLite does not report lock waits, so wait until the node uses a connection. If that connection is not
            // yet waiting for the lock, the test proves less but does not fail.
            Backend::Sqlite => node.store.connections_in_use() > 0,
        });
    }

    /// Returns the number of keys that are not revoked.
    fn valid_keys(&self) -> usize {
        const VALID_KEYS: &str =
            "SELECT device AS text FROM api_keys JOIN users ON users.id = user_id AND key_epoch = epoch";
        self.database.texts(VALID_KEYS).len()
    }

    fn stored_password(&self) -> String {
        self.database.texts("SELECT password AS text FROM users").remove(0)
    }
}

fn core_settings(database: &TestDatabase) -> CoreSettings {
    CoreSettings {
        clock: Clock::system(),
        database: database.url().parse().unwrap(),
        data_dir: database.folder.path().to_owned(),
        secret_key: Some(SecretText::new(SEALING_SECRET.to_owned())),
        secret_key_file: None,
        pbkdf2_rounds: 1000,
        password_min_length: 8,
        login_throttle: false,
        key_limits: KeyLimits {
            max_per_user: 1000,
            max_lifetime: Duration::from_secs(366 * 24 * 60 * 60),
        },
        sessions: SessionLimits::default(),
        link_lifetime: LINK_LIFETIME,
        max_wait: MAX_WAIT,
        allows_network_file_system: false,
        has_metrics: false,
    }
}

const ADMIN: &str = "Default";

fn admin() -> Name {
    Name::parse(ADMIN).unwrap()
}

/// Returns a new user who is not an administrator.
pub(super) fn new_user(name: &str) -> NewUser {
    NewUser {
        name: NewName::parse(name).unwrap(),
        email: None,
        is_admin: false,
        profile: ProfileChange::default(),
    }
}

pub(super) fn device() -> Name {
    Name::parse("web-ui").unwrap()
}

pub(super) fn log_in(auth: &Auth, password: &str) -> Result<Key, LoginError> {
    log_in_on(auth, password, device().as_typed())
}

pub(super) fn log_in_on(auth: &Auth, password: &str, device: &str) -> Result<Key, LoginError> {
    let password = SecretText::new(password.to_owned());
    let login = LogIn {
        user: admin(),
        password,
        device: Name::parse(device).unwrap(),
        expiry: RequestedExpiry::Never,
        dialect: "test",
    };
    auth.log_in(&login, &RequestContext::default()).map(|issued| issued.key)
}

/// Checks the administrator's old password, the first half of a login.
pub(super) fn check_password(auth: &Auth) -> Credential {
    check_password_of(auth, admin().as_typed())
}

/// Checks the password [`OLD`] of a user.
pub(super) fn check_password_of(auth: &Auth, user: &str) -> Credential {
    let (user, password) = (Name::parse(user).unwrap(), SecretText::new(OLD.to_owned()));
    auth.check_password(&user, &password, &RequestContext::default())
        .unwrap()
}

/// Returns or issues the key, the second half of a login.
pub(super) fn key_for(auth: &Auth, credential: &Credential) -> Result<Key, LoginError> {
    auth.key_for(credential, &device(), None, &RequestContext::default())
}

fn verify(auth: &Auth, key: &Key) -> Option<Caller> {
    auth.verify(
        std::slice::from_ref(key),
        &Acceptance::FullKeys,
        &RequestContext::default(),
    )
    .unwrap()
}

fn set_password(auth: &Auth, password: &str) -> Result<(), ManageError> {
    let user = UserRef::Name(admin());
    auth.change_password(Actor::Operator, &user, password, KeysAfterChange::Revoked)
}

fn revoke_all_keys(auth: &Auth) -> Result<usize, ManageError> {
    let user = UserRef::Name(admin());
    auth.revoke_keys(Actor::Operator, &KeySelection::User { user, device: None })
}

#[apply(both_databases!)]
fn a_login_with_the_old_password_gets_no_key_after_a_change(backend: Backend) {
    let nodes = Nodes::on(backend);
    let credential = check_password(&nodes.one);
    set_password(&nodes.two, NEW).unwrap();
    let rejected = key_for(&nodes.one, &credential);
    assert!(matches!(rejected, Err(LoginError::WrongCredentials)), "{rejected:?}");
    assert_eq!(nodes.valid_keys(), 0);
}

#[apply(both_databases!)]
fn a_login_with_the_old_password_gets_no_key_even_if_that_is_set_again(backend: Backend) {
    let nodes = Nodes::on(backend);
    let credential = check_password(&nodes.one);
    set_password(&nodes.two, NEW).unwrap();
    set_password(&nodes.two, OLD).unwrap();
    assert!(key_for(&nodes.one, &credential).is_err());
    assert_eq!(nodes.valid_keys(), 0);
}

#[apply(both_databases!)]
fn a_login_with_the_old_password_does_not_get_a_key_issued_for_the_new_one(backend: Backend) {
    let nodes = Nodes::on(backend);
    let credential = check_password(&nodes.one);
    set_password(&nodes.two, NEW).unwrap();
    let key = log_in(&nodes.two, NEW).unwrap();
    let rejected = key_for(&nodes.one, &credential);
    assert!(matches!(rejected, Err(LoginError::WrongCredentials)), "{rejected:?}");
    assert!(verify(&nodes.one, &key).is_some());
}

#[apply(both_databases!)]
fn an_existing_key_returned_before_a_change_is_revoked_by_it(backend: Backend) {
    let nodes = Nodes::on(backend);
    log_in(&nodes.one, OLD).unwrap();
    let credential = check_password(&nodes.one);
    let key = key_for(&nodes.one, &credential).unwrap();
    set_password(&nodes.two, NEW).unwrap();
    assert!(verify(&nodes.one, &key).is_none());
}

#[apply(both_databases!)]
fn a_rehash_does_not_restore_the_old_password(backend: Backend) {
    let nodes = Nodes::on(backend);
    let credential = check_password(&nodes.two);
    set_password(&nodes.one, NEW).unwrap();
    let changed = nodes.stored_password();
    nodes.two.rehash(&credential, OLD, &RequestContext::default()).unwrap();
    assert_eq!(nodes.stored_password(), changed);
    assert!(log_in(&nodes.one, OLD).is_err() && log_in(&nodes.one, NEW).is_ok());
}

#[apply(both_databases!)]
fn a_concurrent_rehash_does_not_disturb_a_login(backend: Backend) {
    let nodes = Nodes::on(backend);
    let credential = check_password(&nodes.one);
    log_in(&nodes.two, OLD).unwrap();
    assert!(nodes.stored_password().contains("i=2000,"), "the login has rehashed");
    assert!(key_for(&nodes.one, &credential).is_ok());
    assert_eq!(nodes.valid_keys(), 1);
}

#[apply(both_databases!)]
fn a_password_change_waits_for_a_login_and_revokes_its_new_key(backend: Backend) {
    let nodes = Nodes::on(backend);
    let credential = check_password(&nodes.one);
    let (locked, is_locked) = mpsc::channel();
    let about_to_commit = AtomicBool::new(false);
    thread::scope(|scope| {
        let login = scope.spawn(|| {
            nodes.one.store.write(|tx| {
                tx.lock_credential(credential.user_id)?;
                let key = nodes
                    .one
                    .find_or_issue_key::<LoginError>(tx, &credential, &device(), None)?;
                locked.send(()).unwrap();
                nodes.wait_until_blocked(&nodes.two);
                about_to_commit.store(true, Ordering::SeqCst);
                Ok::<_, LoginError>(key)
            })
        });
        is_locked.recv().unwrap();
        set_password(&nodes.two, NEW).unwrap();
        assert!(about_to_commit.load(Ordering::SeqCst), "the change has waited");
        let key = login.join().unwrap().unwrap().key;
        assert!(verify(&nodes.one, &key).is_none());
    });
    assert_eq!(nodes.valid_keys(), 0);
}

#[apply(both_databases!)]
fn a_login_waits_for_a_running_password_change_and_is_rejected(backend: Backend) {
    let nodes = Nodes::on(backend);
    let credential = check_password(&nodes.one);
    let (changed, is_changed) = mpsc::channel();
    thread::scope(|scope| {
        let change = scope.spawn(|| {
            nodes.two.store.write(|tx| {
                tx.set_password(credential.user_id, &nodes.two.passwords.hash(NEW)?)?;
                changed.send(()).unwrap();
                nodes.wait_until_blocked(&nodes.one);
                tx.revoke_keys_of_user(credential.user_id)
            })
        });
        is_changed.recv().unwrap();
        let rejected = key_for(&nodes.one, &credential);
        assert!(matches!(rejected, Err(LoginError::WrongCredentials)), "{rejected:?}");
        change.join().unwrap().unwrap();
    });
    assert_eq!(nodes.valid_keys(), 0);
}

#[apply(both_databases!)]
fn a_change_starts_again_if_the_user_changes_in_the_meantime(backend: Backend) {
    let nodes = Nodes::on(backend);
    let plex = |names: &str| UserChange {
        profile: ProfileChange {
            plex_usernames: Some(names.to_owned()),
            ..ProfileChange::default()
        },
        ..UserChange::default()
    };
    let add = |auth: &Auth, name: &str, before_commit: &dyn Fn()| {
        auth.change_user(Actor::Operator, 1, |user| {
            before_commit();
            Ok::<_, Infallible>(plex(&format!("{},{name}", user.profile.plex_usernames)))
        })
    };
    let is_first = AtomicBool::new(true);
    let interfere = || {
        if is_first.swap(false, Ordering::Relaxed) {
            add(&nodes.two, "two", &|| ()).unwrap().unwrap();
        }
    };
    let changed = add(&nodes.one, "one", &interfere).unwrap().unwrap();
    assert_eq!(changed.profile.plex_usernames, ",two,one");
    let always = || drop(add(&nodes.two, "more", &|| ()).unwrap());
    let busy = add(&nodes.one, "one", &always).unwrap_err();
    assert!(
        matches!(busy, ManageError::Key(KeyError::Service(ServiceError::Busy { .. }))),
        "{busy}"
    );
}

#[apply(both_databases!)]
fn two_concurrent_logins_on_a_new_device_get_the_same_key(backend: Backend) {
    let nodes = Nodes::on(backend);
    let credential = check_password(&nodes.one);
    let (locked, is_locked) = mpsc::channel();
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            nodes.one.store.write(|tx| {
                tx.lock_credential(credential.user_id)?;
                locked.send(()).unwrap();
                nodes.wait_until_blocked(&nodes.two);
                nodes
                    .one
                    .find_or_issue_key::<LoginError>(tx, &credential, &device(), None)
            })
        });
        is_locked.recv().unwrap();
        let second = key_for(&nodes.two, &credential).unwrap();
        assert!(first.join().unwrap().unwrap().key == second);
    });
    assert_eq!(nodes.valid_keys(), 1);
}
