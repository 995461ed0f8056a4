use test_support::{Backend, apply, both_databases};

use super::{NEW, Nodes, OLD, admin, check_password, revoke_all_keys, set_password};
use crate::auth::{Auth, SignIn};
use crate::error::{KeyError, LinkError, LoginError, ManageError};
use crate::model::{
    Acceptance, Actor, Caller, CookieDomain, KeyKind, RequestContext, SecretText, UserRef, browser_name,
};
use crate::secret::token::{GatewaySecret, SessionSecret};

fn secret(text: &str) -> SecretText {
    SecretText::new(text.to_owned())
}

fn sign_in(auth: &Auth, password: &str) -> SessionSecret {
    let sign_in = SignIn {
        user: admin(),
        password: secret(password),
        user_agent: String::new(),
        replaced: None,
        gateway: None,
    };
    auth.sign_in(&sign_in, &RequestContext::default()).unwrap().secret
}

fn find(auth: &Auth, session: &SessionSecret) -> Option<Caller> {
    let found = auth.look_up_blocking(vec![session.hash()], Acceptance::Sessions);
    found
        .unwrap()
        .map(|holder| Caller::new(holder, RequestContext::default()))
}

/// Returns the caller of the session in a request that also contains the password [`OLD`].
fn confirmed(auth: &Auth, session: &SessionSecret) -> Caller {
    let caller = find(auth, session).unwrap();
    auth.confirm_password(caller, Some(&secret(OLD))).unwrap()
}

#[apply(both_databases!)]
fn a_sign_in_with_the_old_password_starts_no_session_after_a_change(backend: Backend) {
    let nodes = Nodes::on(backend);
    let credential = check_password(&nodes.one);
    set_password(&nodes.two, NEW).unwrap();
    let rejected = nodes.one.start_session(&credential, &browser_name(""), None);
    assert!(matches!(rejected, Err(LoginError::WrongCredentials)), "{rejected:?}");
    assert_eq!(nodes.valid_keys(), 0);
}

#[apply(both_databases!)]
fn a_password_change_with_a_session_revoked_meanwhile_changes_nothing(backend: Backend) {
    let nodes = Nodes::on(backend);
    let caller = confirmed(&nodes.one, &sign_in(&nodes.one, OLD));
    revoke_all_keys(&nodes.two).unwrap();
    let rejected = nodes.one.change_own_password(&caller, &secret(NEW), None);
    assert!(
        matches!(rejected, Err(ManageError::Key(KeyError::Invalid))),
        "{rejected:?}"
    );
    assert_eq!(nodes.valid_keys(), 0);
    check_password(&nodes.one);
}

#[apply(both_databases!)]
fn of_two_password_changes_with_one_session_only_the_first_succeeds(backend: Backend) {
    let nodes = Nodes::on(backend);
    let session = sign_in(&nodes.one, OLD);
    let (first, second) = (confirmed(&nodes.one, &session), confirmed(&nodes.two, &session));
    let renewed = nodes
        .one
        .change_own_password(&first, &secret(NEW), None)
        .unwrap()
        .unwrap();
    let rejected = nodes.two.change_own_password(&second, &secret("Clarinet-bay"), None);
    assert!(
        matches!(rejected, Err(ManageError::Key(KeyError::Invalid))),
        "{rejected:?}"
    );
    assert!(find(&nodes.two, &session).is_none());
    assert!(find(&nodes.two, &renewed.secret).is_some());
    assert_eq!(nodes.valid_keys(), 1);
}

#[apply(both_databases!)]
fn a_cookie_that_is_issued_for_a_session_revoked_meanwhile_does_not_work(backend: Backend) {
    let nodes = Nodes::on(backend);
    let domain = CookieDomain::parse("example.org").unwrap();
    let find_cookie = |auth: &Auth, cookie: &GatewaySecret| {
        let found = auth.look_up_blocking(vec![cookie.hash_at(&domain)], Acceptance::GatewayCookies);
        found.unwrap()
    };
    let session = sign_in(&nodes.one, OLD);
    let caller = find(&nodes.one, &session).unwrap();
    let cookie = nodes.one.open_gateway(&caller, &session, &domain).unwrap();
    assert_eq!(find_cookie(&nodes.two, &cookie).unwrap().kind, KeyKind::GatewayCookie);
    revoke_all_keys(&nodes.two).unwrap();
    // The row of the session is still there, until a sweep deletes it.
    let late = nodes.one.open_gateway(&caller, &session, &domain).unwrap();
    assert_eq!(late.expose(), cookie.expose());
    assert!(find_cookie(&nodes.one, &late).is_none() && find_cookie(&nodes.two, &late).is_none());
    let session = sign_in(&nodes.one, OLD);
    let caller = find(&nodes.one, &session).unwrap();
    nodes.two.revoke_own_key(&caller).unwrap();
    let rejected = nodes.one.open_gateway(&caller, &session, &domain);
    assert!(matches!(rejected, Err(KeyError::Invalid)), "{rejected:?}");
}

#[apply(both_databases!)]
fn a_password_change_on_another_node_revokes_a_link(backend: Backend) {
    let nodes = Nodes::on(backend);
    let link = nodes.one.issue_link(Actor::Operator, &UserRef::Name(admin())).unwrap();
    assert_eq!(nodes.two.user_of_link(&link.token).unwrap(), "Default");
    set_password(&nodes.two, NEW).unwrap();
    let context = RequestContext::default();
    let rejected = nodes.one.set_password_with_link(&link.token, &secret(OLD), &context);
    assert!(matches!(rejected, Err(LinkError::Unknown)), "{rejected:?}");
}
