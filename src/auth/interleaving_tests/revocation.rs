use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::Duration;

use chrono::TimeDelta;
use test_support::wait::{wait_for, wait_until};
use test_support::{Backend, apply, both_databases};

use super::{
    NEW, Nodes, OLD, admin, check_password, device, key_for, log_in, new_user, revoke_all_keys, set_password, verify,
};
use crate::auth::{FeedState, KeysAfterChange};
use crate::error::{KeyError, LoginError, ManageError, ServiceError};
use crate::model::{Acceptance, Actor, Caller, Expiration, Name, NewUser, RequestContext, UserRef};
use crate::secret::key::Key;
use crate::store::Transaction;

/// The longest delay before a revocation on one node takes effect on another. The tests sleep for this time instead of
/// waiting for a condition, because the delay itself is what they test.
const MAX_REVOCATION_DELAY: Duration = Duration::from_millis(100);

fn administrator(name: &str) -> NewUser {
    NewUser {
        is_admin: true,
        ..new_user(name)
    }
}

#[apply(both_databases!)]
fn a_password_change_with_a_key_revoked_meanwhile_is_rejected(backend: Backend) {
    let nodes = Nodes::on(backend);
    let caller = verify(&nodes.one, &log_in(&nodes.one, OLD).unwrap()).unwrap();
    revoke_all_keys(&nodes.two).unwrap();
    let rejected = nodes.one.change_password(
        (&caller).into(),
        &UserRef::Id(caller.holder.user_id),
        NEW,
        KeysAfterChange::Revoked,
    );
    assert!(
        matches!(rejected, Err(ManageError::Key(KeyError::Invalid))),
        "{rejected:?}"
    );
    assert!(log_in(&nodes.one, OLD).is_ok());
}

#[apply(both_databases!)]
fn a_password_change_for_another_user_by_a_demoted_administrator_is_rejected(backend: Backend) {
    let nodes = Nodes::on(backend);
    let other = administrator("other");
    let other = nodes.one.create_user(Actor::Operator, &other, OLD).unwrap();
    let caller = verify(&nodes.one, &log_in(&nodes.one, OLD).unwrap()).unwrap();
    nodes
        .two
        .set_admin(Actor::Operator, &UserRef::Name(admin()), false)
        .unwrap();
    let rejected = nodes
        .one
        .change_password((&caller).into(), &UserRef::Id(other.id), NEW, KeysAfterChange::Revoked);
    assert!(matches!(rejected, Err(ManageError::Forbidden)), "{rejected:?}");
}

#[apply(both_databases!)]
fn one_of_two_administrators_who_demote_each_other_remains(backend: Backend) {
    let nodes = Nodes::on(backend);
    let second = Name::parse("second").unwrap();
    let user = administrator("second");
    nodes.one.create_user(Actor::Operator, &user, OLD).unwrap();
    for _ in 0..20 {
        let barrier = Barrier::new(2);
        let succeeded: Vec<bool> = thread::scope(|scope| {
            let demotions = [(&nodes.one, admin()), (&nodes.two, second.clone())].map(|(auth, name)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    barrier.wait();
                    auth.set_admin(Actor::Operator, &UserRef::Name(name), false).is_ok()
                })
            });
            demotions.map(|demotion| demotion.join().unwrap()).into()
        });
        assert_eq!(succeeded.iter().filter(|ok| **ok).count(), 1, "{succeeded:?}");
        nodes
            .one
            .set_admin(Actor::Operator, &UserRef::Name(admin()), true)
            .unwrap();
        nodes
            .one
            .set_admin(Actor::Operator, &UserRef::Name(second.clone()), true)
            .unwrap();
    }
}

#[apply(both_databases!)]
fn an_administrator_whose_key_is_revoked_meanwhile_creates_no_user(backend: Backend) {
    let nodes = Nodes::on(backend);
    let caller = verify(&nodes.one, &log_in(&nodes.one, OLD).unwrap()).unwrap();
    let user = administrator("other");
    revoke_all_keys(&nodes.two).unwrap();
    let rejected = nodes.one.create_user((&caller).into(), &user, OLD);
    assert!(
        matches!(rejected, Err(ManageError::Key(KeyError::Invalid))),
        "{rejected:?}"
    );
    let rejected = nodes.one.set_web_ui_settings((&caller).into(), "x");
    assert!(
        matches!(rejected, Err(ManageError::Key(KeyError::Invalid))),
        "{rejected:?}"
    );
    assert_eq!(nodes.one.users().unwrap().len(), 1);
}

#[apply(both_databases!)]
fn an_expired_key_is_rejected_before_it_is_deleted(backend: Backend) {
    let nodes = Nodes::on(backend);
    let caller = verify(&nodes.one, &log_in(&nodes.one, OLD).unwrap()).unwrap();
    nodes
        .database
        .execute("UPDATE api_keys SET expires_at = '2001-01-01 00:00:00'");
    let rejected = nodes.one.change_password(
        (&caller).into(),
        &UserRef::Id(caller.holder.user_id),
        NEW,
        KeysAfterChange::Revoked,
    );
    assert!(
        matches!(rejected, Err(ManageError::Key(KeyError::Invalid))),
        "{rejected:?}"
    );
    assert_eq!(nodes.one.sweep_keys().unwrap(), 1);
    assert_eq!(nodes.one.sweep_keys().unwrap(), 0);
    assert_eq!(nodes.valid_keys(), 0);
}

#[apply(both_databases!)]
fn revoking_all_keys_waits_for_a_key_that_is_being_issued(backend: Backend) {
    let nodes = Nodes::on(backend);
    let credential = check_password(&nodes.one);
    log_in(&nodes.one, OLD).unwrap();
    let (locked, is_locked) = mpsc::channel();
    thread::scope(|scope| {
        let login = scope.spawn(|| {
            nodes.one.store.write(|tx| {
                tx.lock_credential(credential.user_id)?;
                locked.send(()).unwrap();
                nodes.wait_until_blocked(&nodes.two);
                let other = Name::parse("other").unwrap();
                nodes.one.find_or_issue_key::<LoginError>(tx, &credential, &other, None)
            })
        });
        is_locked.recv().unwrap();
        assert_eq!(revoke_all_keys(&nodes.two).unwrap(), 2);
        assert!(login.join().unwrap().is_ok());
    });
    assert_eq!(nodes.valid_keys(), 0);
}

#[apply(both_databases!)]
fn revoking_a_key_waits_for_a_running_change_with_it(backend: Backend) {
    let nodes = Nodes::on(backend);
    let key = log_in(&nodes.one, OLD).unwrap();
    let caller = verify(&nodes.one, &key).unwrap();
    let (checked, is_checked) = mpsc::channel();
    let about_to_commit = AtomicBool::new(false);
    thread::scope(|scope| {
        let change = scope.spawn(|| {
            nodes.one.store.write(|tx| {
                let found = tx.lock_key_holder(&caller.holder, nodes.one.now())?;
                checked.send(()).unwrap();
                nodes.wait_until_blocked(&nodes.two);
                about_to_commit.store(true, Ordering::SeqCst);
                Ok::<_, ServiceError>(found.is_some())
            })
        });
        is_checked.recv().unwrap();
        nodes
            .two
            .revoke_key(None, &key.expose(), &RequestContext::default())
            .unwrap();
        assert!(about_to_commit.load(Ordering::SeqCst), "the revocation has waited");
        assert!(change.join().unwrap().unwrap());
    });
}

#[apply(both_databases!)]
fn creating_a_user_waits_for_a_running_demotion_and_is_rejected(backend: Backend) {
    let nodes = Nodes::on(backend);
    let caller = verify(&nodes.one, &log_in(&nodes.one, OLD).unwrap()).unwrap();
    let user = administrator("other");
    let (demoted, is_demoted) = mpsc::channel();
    thread::scope(|scope| {
        let demotion = scope.spawn(|| {
            nodes.two.store.write(|tx| {
                tx.lock_users()?;
                tx.set_admin(caller.holder.user_id, false)?;
                demoted.send(()).unwrap();
                nodes.wait_until_blocked(&nodes.one);
                Ok::<_, ServiceError>(())
            })
        });
        is_demoted.recv().unwrap();
        let rejected = nodes.one.create_user((&caller).into(), &user, OLD);
        assert!(matches!(rejected, Err(ManageError::Forbidden)), "{rejected:?}");
        demotion.join().unwrap().unwrap();
    });
    assert_eq!(nodes.one.users().unwrap().len(), 1);
}

#[apply(both_databases!)]
fn a_lookup_overtaken_by_a_revocation_does_not_cache_the_key(backend: Backend) {
    let nodes = Nodes::on(backend);
    nodes.one.follow_changes().unwrap();
    wait_until("the change feed is up", || nodes.one.feed_state() == FeedState::Up);
    for revoke in [
        &(|key: &Key| nodes.one.revoke_key(None, &key.expose(), &RequestContext::default())) as &dyn Fn(&Key) -> _,
        &|key| {
            nodes.two.revoke_key(None, &key.expose(), &RequestContext::default())?;
            thread::sleep(MAX_REVOCATION_DELAY);
            Ok(())
        },
        &|key| {
            nodes.two.revoke_key(None, &key.expose(), &RequestContext::default())?;
            let again = nodes.one.revoke_key(None, &key.expose(), &RequestContext::default());
            assert!(
                matches!(again, Err(ManageError::UnknownKey)),
                "the key must be revoked everywhere once it is unknown"
            );
            Ok(())
        },
        &|_| set_password(&nodes.one, OLD),
    ] {
        let key = log_in(&nodes.one, OLD).unwrap();
        let keys = std::slice::from_ref(&key);
        // The key is cached only while the feed is up to date, and only after the feed has reported the login.
        let (found, generation) = wait_for("the key is cached", || {
            let generation = nodes.one.key_cache.generation();
            let found = nodes.one.store.read(|db| db.key_holder(&key.hash(), nodes.one.now()));
            let found = found.unwrap().unwrap();
            nodes.one.key_cache.insert(key.hash(), found.clone(), generation);
            let cached = nodes
                .one
                .cached_caller(keys, &Acceptance::FullKeys, &RequestContext::default());
            cached.map(|_| (found, generation))
        });
        revoke(&key).unwrap();
        nodes.one.key_cache.insert(key.hash(), found.clone(), generation);
        assert!(
            nodes
                .one
                .cached_caller(keys, &Acceptance::FullKeys, &RequestContext::default())
                .is_none()
        );
        assert!(verify(&nodes.one, &key).is_none());
    }
}

#[apply(both_databases!)]
fn revoking_all_keys_waits_for_a_running_change_with_one_of_them(backend: Backend) {
    let nodes = Nodes::on(backend);
    let key = log_in(&nodes.one, OLD).unwrap();
    let caller = verify(&nodes.one, &key).unwrap();
    let (checked, is_checked) = mpsc::channel();
    let about_to_commit = AtomicBool::new(false);
    thread::scope(|scope| {
        let change = scope.spawn(|| {
            nodes.one.store.write(|tx| {
                let found = tx.lock_key_holder(&caller.holder, nodes.one.now())?;
                checked.send(()).unwrap();
                nodes.wait_until_blocked(&nodes.two);
                about_to_commit.store(true, Ordering::SeqCst);
                Ok::<_, ServiceError>(found.is_some())
            })
        });
        is_checked.recv().unwrap();
        assert_eq!(revoke_all_keys(&nodes.two).unwrap(), 1);
        assert!(about_to_commit.load(Ordering::SeqCst), "the revocation has waited");
        assert!(change.join().unwrap().unwrap());
    });
    assert_eq!(nodes.valid_keys(), 0);
}

#[apply(both_databases!)]
fn a_login_overtaken_by_a_revocation_gets_a_key_that_the_sweep_keeps(backend: Backend) {
    let nodes = Nodes::on(backend);
    let revoked = log_in(&nodes.one, OLD).unwrap();
    let credential = check_password(&nodes.one);
    revoke_all_keys(&nodes.two).unwrap();
    let key = key_for(&nodes.one, &credential).unwrap();
    assert!(
        key != revoked,
        "the password is still right, but the device's key is gone"
    );
    while nodes.two.sweep_keys().unwrap() > 0 {}
    assert!(verify(&nodes.two, &key).is_some() && verify(&nodes.two, &revoked).is_none());
    assert_eq!(nodes.valid_keys(), 1);
}

#[apply(both_databases!)]
fn a_revocation_between_two_batches_of_a_sweep_is_swept_too(backend: Backend) {
    let nodes = Nodes::on(backend);
    log_in(&nodes.one, OLD).unwrap();
    revoke_all_keys(&nodes.one).unwrap();
    nodes.one.store.write(Transaction::sweep_revoked_keys).unwrap();
    log_in(&nodes.one, OLD).unwrap();
    revoke_all_keys(&nodes.two).unwrap();
    let key = log_in(&nodes.one, OLD).unwrap();
    while nodes.one.sweep_keys().unwrap() > 0 {}
    let rows = nodes.database.texts("SELECT device AS text FROM api_keys");
    assert_eq!(rows.len(), 1);
    assert!(verify(&nodes.one, &key).is_some());
}

#[apply(both_databases!)]
fn two_administrators_can_change_each_others_passwords_at_once(backend: Backend) {
    let nodes = Nodes::on(backend);
    nodes
        .one
        .create_user(Actor::Operator, &administrator("second"), OLD)
        .unwrap();
    let callers = ["Default", "second"].map(|name| {
        let name = Name::parse(name).unwrap();
        let login = nodes
            .one
            .log_in_without_password(&name, &device(), &RequestContext::default());
        verify(&nodes.one, &login.unwrap().key).unwrap()
    });
    let [first, second] = &callers;
    for _ in 0..20 {
        let barrier = Barrier::new(2);
        let change = |caller: &Caller, other: &Caller| {
            barrier.wait();
            let other = UserRef::Id(other.holder.user_id);
            nodes
                .one
                .change_password(caller.into(), &other, OLD, KeysAfterChange::Kept)
        };
        thread::scope(|scope| {
            let changes =
                [(first, second), (second, first)].map(|(caller, other)| scope.spawn(move || change(caller, other)));
            for change in changes {
                change.join().unwrap().unwrap();
            }
        });
    }
}

#[apply(both_databases!)]
fn a_login_at_the_key_limit_uses_the_room_of_a_key_that_is_being_revoked(backend: Backend) {
    let mut nodes = Nodes::on(backend);
    nodes.one.key_limits.max_per_user = 1;
    let credential = check_password(&nodes.one);
    let expiration = Some(Expiration {
        at: nodes.one.now() + TimeDelta::hours(1),
        is_renewable: false,
    });
    let context = RequestContext::default();
    let issue = || nodes.one.key_for(&credential, &device(), expiration, &context);
    let key = issue().unwrap();
    let (deleted, is_deleted) = mpsc::channel();
    thread::scope(|scope| {
        let revocation = scope.spawn(|| {
            nodes.two.store.write(|tx| {
                let owner = tx.delete_key(&key.hash())?;
                deleted.send(()).unwrap();
                nodes.wait_until_blocked(&nodes.one);
                Ok::<_, ServiceError>(owner.is_some())
            })
        });
        is_deleted.recv().unwrap();
        assert!(issue().is_ok());
        assert!(revocation.join().unwrap().unwrap());
    });
    assert_eq!(nodes.valid_keys(), 1);
}
