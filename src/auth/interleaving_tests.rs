//! Logins and password changes that meet: each test puts the steps in one order on purpose.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use super::{Auth, KeySelection, KeysAfterChange, LogIn};
use crate::error::{KeyError, LoginError, ManageError, ServiceError};
use crate::model::{Actor, Name, NewUser, ProfileChange, RequestContext, RequestedExpiry, SecretText, UserRef};
use crate::secret::key::Key;
use crate::settings::FirstAdmin;
use crate::wait::wait_until;
use database::{Backend, TestDatabase, on_both_databases};

#[path = "../../tests/api/database.rs"]
#[expect(dead_code, reason = "the API tests use more of it")]
pub(super) mod database;

/// The longest delay before a revocation on one node takes effect on another. The promise itself is tested, so nothing
/// else can be waited for.
const MAX_REVOCATION_DELAY: Duration = Duration::from_millis(100);
pub(super) const OLD: &str = "Tr0mbone-lake";
const NEW: &str = "Oboe-n-harbour";

/// Two handles on one database, as of two nodes, and an administrator with the password [`OLD`].
pub(super) struct Nodes {
    pub one: Auth,
    /// Stores new passwords with more rounds than `one` did.
    pub two: Auth,
    pub database: TestDatabase,
}

impl Nodes {
    pub fn on(backend: Backend) -> Self {
        let database = TestDatabase::create(backend);
        let mut settings = database.settings();
        let one = Auth::open(&settings).unwrap();
        settings.pbkdf2_rounds = 2000;
        let two = Auth::open(&settings).unwrap();
        let admin = FirstAdmin {
            name: admin(),
            password: Some(SecretText::new(OLD.to_owned())),
        };
        one.create_first_admin(&admin).unwrap();
        Self { one, two, database }
    }

    /// Waits until `node` waits for a lock that a transaction of the other node holds.
    fn wait_until_blocked(&self, node: &Auth) {
        const WAITING: &str = "SELECT CAST(pid AS TEXT) AS text FROM pg_stat_activity \
                               WHERE datname = current_database() AND wait_event_type = 'Lock'";
        wait_until("the other node waits for the lock", || match self.database.backend {
            Backend::Postgres => !self.database.texts(WAITING).is_empty(),
            // SQLite does not show lock waits. A read that is seen here instead makes the test weaker, not fail.
            Backend::Sqlite => node.store.connections_in_use() > 0,
        });
    }

    fn keys_in_the_database(&self) -> usize {
        self.database.texts("SELECT device AS text FROM api_keys").len()
    }

    fn stored_password(&self) -> String {
        self.database.texts("SELECT password AS text FROM users").remove(0)
    }
}

pub(super) fn admin() -> Name {
    Name::parse("Default").unwrap()
}

pub(super) fn old() -> SecretText {
    SecretText::new(OLD.to_owned())
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
    };
    auth.log_in(&login, &RequestContext::default()).map(|issued| issued.key)
}

fn set_password(auth: &Auth, password: &str) -> Result<(), ManageError> {
    let user = UserRef::Name(admin());
    auth.change_password(Actor::Operator, &user, password, KeysAfterChange::Revoked)
}

fn revoke_all_keys(auth: &Auth) -> Result<usize, ManageError> {
    let user = UserRef::Name(admin());
    auth.revoke_keys(Actor::Operator, &KeySelection::User { user, device: None })
}

on_both_databases! {
    fn a_login_that_checked_the_old_password_gets_no_key_after_the_change(nodes: Nodes) {
        let checked = nodes.one.check_password(&admin(), &old(), &RequestContext::default()).unwrap();
        set_password(&nodes.two, NEW).unwrap();
        let refused = nodes.one.key_for(&checked, &device(), None, &RequestContext::default());
        assert!(matches!(refused, Err(LoginError::WrongCredentials)), "{refused:?}");
        assert_eq!(nodes.keys_in_the_database(), 0);
    }

    fn a_login_that_checked_the_old_password_gets_no_key_even_when_it_is_set_again(nodes: Nodes) {
        let checked = nodes.one.check_password(&admin(), &old(), &RequestContext::default()).unwrap();
        set_password(&nodes.two, NEW).unwrap();
        set_password(&nodes.two, OLD).unwrap();
        assert!(nodes.one.key_for(&checked, &device(), None, &RequestContext::default()).is_err());
        assert_eq!(nodes.keys_in_the_database(), 0);
    }

    fn a_login_that_checked_the_old_password_is_not_handed_the_key_of_the_new_one(nodes: Nodes) {
        let checked = nodes.one.check_password(&admin(), &old(), &RequestContext::default()).unwrap();
        set_password(&nodes.two, NEW).unwrap();
        let key = log_in(&nodes.two, NEW).unwrap();
        let refused = nodes.one.key_for(&checked, &device(), None, &RequestContext::default());
        assert!(matches!(refused, Err(LoginError::WrongCredentials)), "{refused:?}");
        assert!(nodes.one.verify(&[key], &RequestContext::default()).unwrap().is_some());
    }

    fn a_known_devices_key_that_was_found_before_the_change_is_dead_after_it(nodes: Nodes) {
        log_in(&nodes.one, OLD).unwrap();
        let checked = nodes.one.check_password(&admin(), &old(), &RequestContext::default()).unwrap();
        let key = nodes.one.key_for(&checked, &device(), None, &RequestContext::default()).unwrap();
        set_password(&nodes.two, NEW).unwrap();
        assert!(nodes.one.verify(&[key], &RequestContext::default()).unwrap().is_none());
    }

    fn a_rehash_does_not_put_the_old_password_back(nodes: Nodes) {
        let checked = nodes.two.check_password(&admin(), &old(), &RequestContext::default()).unwrap();
        set_password(&nodes.one, NEW).unwrap();
        let changed = nodes.stored_password();
        nodes.two.rehash(&checked, OLD, &RequestContext::default()).unwrap();
        assert_eq!(nodes.stored_password(), changed);
        assert!(log_in(&nodes.one, OLD).is_err() && log_in(&nodes.one, NEW).is_ok());
    }

    fn a_rehash_meanwhile_does_not_disturb_a_login(nodes: Nodes) {
        let checked = nodes.one.check_password(&admin(), &old(), &RequestContext::default()).unwrap();
        log_in(&nodes.two, OLD).unwrap();
        assert!(nodes.stored_password().contains("i=2000,"), "the login has rehashed");
        assert!(nodes.one.key_for(&checked, &device(), None, &RequestContext::default()).is_ok());
        assert_eq!(nodes.keys_in_the_database(), 1);
    }

    fn a_change_waits_for_a_login_that_is_making_its_key_and_then_ends_it(nodes: Nodes) {
        let checked = nodes.one.check_password(&admin(), &old(), &RequestContext::default()).unwrap();
        let (locked, is_locked) = mpsc::channel();
        let about_to_commit = AtomicBool::new(false);
        thread::scope(|scope| {
            let login = scope.spawn(|| {
                nodes.one.store.write(|db| {
                    db.lock_credential(checked.user_id)?;
                    let key = nodes.one.find_or_issue_key(db, &checked, &device(), None)?;
                    locked.send(()).unwrap();
                    nodes.wait_until_blocked(&nodes.two);
                    about_to_commit.store(true, Ordering::SeqCst);
                    Ok::<_, ServiceError>(key)
                })
            });
            is_locked.recv().unwrap();
            set_password(&nodes.two, NEW).unwrap();
            assert!(about_to_commit.load(Ordering::SeqCst), "the change has waited");
            let key = login.join().unwrap().unwrap().key;
            assert!(nodes.one.verify(&[key], &RequestContext::default()).unwrap().is_none());
        });
        assert_eq!(nodes.keys_in_the_database(), 0);
    }

    fn a_login_waits_for_a_change_that_is_under_way_and_is_then_refused(nodes: Nodes) {
        let checked = nodes.one.check_password(&admin(), &old(), &RequestContext::default()).unwrap();
        let (changed, is_changed) = mpsc::channel();
        thread::scope(|scope| {
            let change = scope.spawn(|| {
                nodes.two.store.write(|db| {
                    db.set_password(checked.user_id, &nodes.two.passwords.hash(NEW)?)?;
                    changed.send(()).unwrap();
                    nodes.wait_until_blocked(&nodes.one);
                    db.delete_keys_of_user(checked.user_id)
                })
            });
            is_changed.recv().unwrap();
            let refused = nodes.one.key_for(&checked, &device(), None, &RequestContext::default());
            assert!(matches!(refused, Err(LoginError::WrongCredentials)), "{refused:?}");
            assert_eq!(change.join().unwrap().unwrap(), 0);
        });
        assert_eq!(nodes.keys_in_the_database(), 0);
    }

    fn two_logins_of_a_new_device_that_both_found_no_key_get_the_same(nodes: Nodes) {
        let checked = nodes.one.check_password(&admin(), &old(), &RequestContext::default()).unwrap();
        let (locked, is_locked) = mpsc::channel();
        thread::scope(|scope| {
            let first = scope.spawn(|| {
                nodes.one.store.write(|db| {
                    db.lock_credential(checked.user_id)?;
                    locked.send(()).unwrap();
                    nodes.wait_until_blocked(&nodes.two);
                    nodes.one.find_or_issue_key(db, &checked, &device(), None)
                })
            });
            is_locked.recv().unwrap();
            let second = nodes.two.key_for(&checked, &device(), None, &RequestContext::default()).unwrap();
            assert!(first.join().unwrap().unwrap().key == second);
        });
        assert_eq!(nodes.keys_in_the_database(), 1);
    }

    fn a_change_with_a_key_that_is_revoked_meanwhile_changes_nothing(nodes: Nodes) {
        let caller = nodes.one.verify(&[log_in(&nodes.one, OLD).unwrap()], &RequestContext::default()).unwrap().unwrap();
        revoke_all_keys(&nodes.two).unwrap();
        let refused = nodes.one.change_password((&caller).into(), &UserRef::Id(caller.holder.user_id), NEW, KeysAfterChange::Revoked);
        assert!(matches!(refused, Err(ManageError::Key(KeyError::Invalid))), "{refused:?}");
        assert!(log_in(&nodes.one, OLD).is_ok());
    }

    fn a_change_for_somebody_else_by_an_administrator_who_is_one_no_more_changes_nothing(nodes: Nodes) {
        let other = NewUser { name: Name::parse("other").unwrap(), email: None, is_admin: true, profile: ProfileChange::default() };
        let other = nodes.one.create_user(Actor::Operator, &other, OLD).unwrap();
        let caller = nodes.one.verify(&[log_in(&nodes.one, OLD).unwrap()], &RequestContext::default()).unwrap().unwrap();
        nodes.two.set_admin(Actor::Operator, &UserRef::Name(admin()), false).unwrap();
        let refused = nodes.one.change_password((&caller).into(), &UserRef::Id(other.id), NEW, KeysAfterChange::Revoked);
        assert!(matches!(refused, Err(ManageError::Forbidden)), "{refused:?}");
    }

    fn of_two_administrators_who_demote_each_other_one_remains(nodes: Nodes) {
        let second = Name::parse("second").unwrap();
        let user = NewUser { name: second.clone(), email: None, is_admin: true, profile: ProfileChange::default() };
        nodes.one.create_user(Actor::Operator, &user, OLD).unwrap();
        for _ in 0..20 {
            let barrier = Barrier::new(2);
            let done: Vec<bool> = thread::scope(|scope| {
                let demotions = [(&nodes.one, admin()), (&nodes.two, second.clone())].map(|(auth, name)| {
                    let barrier = &barrier;
                    scope.spawn(move || {
                        barrier.wait();
                        auth.set_admin(Actor::Operator, &UserRef::Name(name), false).is_ok()
                    })
                });
                demotions.map(|demotion| demotion.join().unwrap()).into()
            });
            assert_eq!(done.iter().filter(|done| **done).count(), 1, "{done:?}");
            nodes.one.set_admin(Actor::Operator, &UserRef::Name(admin()), true).unwrap();
            nodes.one.set_admin(Actor::Operator, &UserRef::Name(second.clone()), true).unwrap();
        }
    }

    fn an_administrator_whose_key_is_revoked_meanwhile_makes_nobody(nodes: Nodes) {
        let caller = nodes.one.verify(&[log_in(&nodes.one, OLD).unwrap()], &RequestContext::default()).unwrap().unwrap();
        let user = NewUser {
            name: Name::parse("other").unwrap(),
            email: None,
            is_admin: true,
            profile: ProfileChange::default(),
        };
        revoke_all_keys(&nodes.two).unwrap();
        let refused = nodes.one.create_user((&caller).into(), &user, OLD);
        assert!(matches!(refused, Err(ManageError::Key(KeyError::Invalid))), "{refused:?}");
        let refused = nodes.one.set_web_ui_settings((&caller).into(), "x");
        assert!(matches!(refused, Err(ManageError::Key(KeyError::Invalid))), "{refused:?}");
        assert_eq!(nodes.one.users().unwrap().len(), 1);
    }

    fn an_expired_key_changes_nothing_before_it_is_swept_and_is_gone_after(nodes: Nodes) {
        let caller = nodes.one.verify(&[log_in(&nodes.one, OLD).unwrap()], &RequestContext::default()).unwrap().unwrap();
        nodes.database.execute("UPDATE api_keys SET expires_at = '2001-01-01 00:00:00'");
        let refused = nodes.one.change_password((&caller).into(), &UserRef::Id(caller.holder.user_id), NEW, KeysAfterChange::Revoked);
        assert!(matches!(refused, Err(ManageError::Key(KeyError::Invalid))), "{refused:?}");
        assert_eq!(nodes.one.delete_expired_keys().unwrap(), 1);
        assert_eq!(nodes.keys_in_the_database(), 0);
    }

    fn to_revoke_all_keys_waits_for_one_that_is_being_made_and_ends_it(nodes: Nodes) {
        let checked = nodes.one.check_password(&admin(), &old(), &RequestContext::default()).unwrap();
        log_in(&nodes.one, OLD).unwrap();
        let (locked, is_locked) = mpsc::channel();
        thread::scope(|scope| {
            let making = scope.spawn(|| {
                nodes.one.store.write(|db| {
                    db.lock_credential(checked.user_id)?;
                    locked.send(()).unwrap();
                    nodes.wait_until_blocked(&nodes.two);
                    let other = Name::parse("other").unwrap();
                    nodes.one.find_or_issue_key(db, &checked, &other, None)
                })
            });
            is_locked.recv().unwrap();
            assert_eq!(revoke_all_keys(&nodes.two).unwrap(), 2);
            assert!(making.join().unwrap().is_ok());
        });
        assert_eq!(nodes.keys_in_the_database(), 0);
    }

    fn to_revoke_a_key_waits_for_what_is_being_done_with_it(nodes: Nodes) {
        let key = log_in(&nodes.one, OLD).unwrap();
        let caller = nodes.one.verify(std::slice::from_ref(&key), &RequestContext::default()).unwrap().unwrap();
        let (checked, is_checked) = mpsc::channel();
        let about_to_commit = AtomicBool::new(false);
        thread::scope(|scope| {
            let change = scope.spawn(|| {
                nodes.one.store.write(|db| {
                    let found = db.lock_key_holder(caller.holder.key_id, nodes.one.now())?;
                    checked.send(()).unwrap();
                    nodes.wait_until_blocked(&nodes.two);
                    about_to_commit.store(true, Ordering::SeqCst);
                    Ok::<_, ServiceError>(found.is_some())
                })
            });
            is_checked.recv().unwrap();
            nodes.two.revoke_key(&key.expose(), &RequestContext::default()).unwrap();
            assert!(about_to_commit.load(Ordering::SeqCst), "the revocation has waited");
            assert!(change.join().unwrap().unwrap());
        });
    }

    fn to_make_a_user_waits_for_a_demotion_that_is_under_way_and_is_then_refused(nodes: Nodes) {
        let caller = nodes.one.verify(&[log_in(&nodes.one, OLD).unwrap()], &RequestContext::default()).unwrap().unwrap();
        let user = NewUser {
            name: Name::parse("other").unwrap(),
            email: None,
            is_admin: true,
            profile: ProfileChange::default(),
        };
        let (demoted, is_demoted) = mpsc::channel();
        thread::scope(|scope| {
            let demotion = scope.spawn(|| {
                nodes.two.store.write(|db| {
                    db.lock_users()?;
                    db.set_admin(caller.holder.user_id, false)?;
                    demoted.send(()).unwrap();
                    nodes.wait_until_blocked(&nodes.one);
                    Ok::<_, ServiceError>(())
                })
            });
            is_demoted.recv().unwrap();
            let refused = nodes.one.create_user((&caller).into(), &user, OLD);
            assert!(matches!(refused, Err(ManageError::Forbidden)), "{refused:?}");
            demotion.join().unwrap().unwrap();
        });
        assert_eq!(nodes.one.users().unwrap().len(), 1);
    }

    fn a_look_up_that_a_revocation_overtakes_brings_no_key_back(nodes: Nodes) {
        nodes.one.follow_changes(&nodes.database.settings().database).unwrap();
        wait_until("the change feed is up", || nodes.one.follows_changes());
        for revoke in [
            &(|key: &Key| nodes.one.revoke_key(&key.expose(), &RequestContext::default())) as &dyn Fn(&Key) -> _,
            &|key| {
                nodes.two.revoke_key(&key.expose(), &RequestContext::default())?;
                thread::sleep(MAX_REVOCATION_DELAY);
                Ok(())
            },
            &|key| {
                nodes.two.revoke_key(&key.expose(), &RequestContext::default())?;
                let again = nodes.one.revoke_key(&key.expose(), &RequestContext::default());
                assert!(matches!(again, Err(ManageError::UnknownKey)), "and whoever is told so may rely on it");
                Ok(())
            },
            &|_| set_password(&nodes.one, OLD),
        ] {
            let key = log_in(&nodes.one, OLD).unwrap();
            let keys = std::slice::from_ref(&key);
            let generation = nodes.one.key_cache.generation();
            let found = nodes.one.store.read(|db| db.key_holder(&key.hash(), nodes.one.now())).unwrap().unwrap();
            // The feed may be late on a busy machine: then nothing is remembered.
            while nodes.one.cached_caller(keys, &RequestContext::default()).is_none() {
                nodes.one.key_cache.insert(key.hash(), found.clone(), generation);
            }
            revoke(&key).unwrap();
            nodes.one.key_cache.insert(key.hash(), found.clone(), generation);
            assert!(nodes.one.cached_caller(keys, &RequestContext::default()).is_none());
            assert!(nodes.one.verify(keys, &RequestContext::default()).unwrap().is_none());
        }
    }
}
