use std::sync::Barrier;

use serde_json::json;
use test_support::{Backend, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

const NEW: &str = "Oboe-n-harbour";

#[apply(both_databases!)]
fn a_password_change_revokes_every_key_of_the_user_and_no_other(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let (used, other) = (app.admin_key(), app.key(ADMIN, ADMIN_PASSWORD, "kodi"));
    let bobs = app.key("bob", "Bassoon-hill", "phone");
    let response = app.change_password(&used, NEW);
    assert_eq!((response.status, response.text().as_str()), (200, ""));
    assert!(!app.accepts(&used) && !app.accepts(&other) && app.accepts(&bobs));
    assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "kodi").status, 401);
    let new = app.key(ADMIN, NEW, "kodi");
    assert!(new != other && app.accepts(&new));
}

#[apply(both_databases!)]
fn a_password_change_needs_a_valid_key(backend: Backend) {
    let app = TestApp::on(backend);
    let request = app.post("/api/auth/ChangePassword");
    let response = request.clone().json(&json!(NEW)).send();
    response.problem(401);
    assert_eq!(
        response.header("www-authenticate").as_deref(),
        Some(r#"Bearer realm="shoko-auth""#)
    );
    let response = request.clone().header("apikey", "dead").json(&json!(NEW)).send();
    response.problem(401);
    let expected = r#"Bearer realm="shoko-auth", error="invalid_token""#;
    assert_eq!(response.header("www-authenticate").as_deref(), Some(expected));
    request
        .header("Content-Type", "text/plain")
        .body("{")
        .send()
        .problem(401);
    assert_eq!(app.log_in(ADMIN, ADMIN_PASSWORD, "d").status, 200);
}

#[apply(both_databases!)]
fn users_change_their_own_password_and_administrators_every(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user("bob", "Bassoon-hill");
    let (admin, bob) = (app.admin_key(), app.key("bob", "Bassoon-hill", "phone"));
    let change = |key: &str, id: &str| {
        let request = app.post(&format!("/api/auth/ChangePassword?USERid={id}"));
        request.header("apikey", key).json(&json!(NEW)).send()
    };
    change(&bob, "1").problem(403);
    change(&bob, "99999").problem(403);
    assert_eq!(change(&admin, "99999").problem(400)["detail"], "Could not get user");
    for bad in ["abc", "1.5", "99999999999", "1&userid=2"] {
        assert!(change(&admin, bad).problem(400)["errors"]["userID"].is_array(), "{bad}");
    }
    assert!(app.accepts(&admin) && app.accepts(&bob));
    assert_eq!(change(&admin, "2").status, 200);
    assert!(app.accepts(&admin) && !app.accepts(&bob));
    let bob = app.key("bob", NEW, "phone");
    assert_eq!(change(&bob, "2").status, 200);
    assert!(!app.accepts(&bob));
}

#[apply(both_databases!)]
fn a_weak_password_is_rejected_with_the_reason(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    for (password, reason) in [
        ("", "must not be empty"),
        ("sieben7", "at least 8 characters"),
        (&*"x".repeat(1025), "at most 1024 bytes"),
        ("Password1", "most common"),
        ("password\0", "NUL"),
        ("\0\0\0\0\0\0\0\0", "NUL"),
        ("DEFAULT", "at least 8"),
        ("default-1987", "the user's name"),
        ("Shoko-Auth", "the name of this product"),
        ("xyzxyzxyz", "repeats"),
        ("yourmom123", "most common"),
    ] {
        let problem = app.change_password(&key, password).problem(400);
        assert_eq!(problem["title"], "One or more validation errors occurred.");
        let text = problem["errors"]["newPassword"][0].as_str().unwrap();
        assert!(text.contains(reason), "{text}");
    }
    for body in ["null", "{}", "[]", "plain", ""] {
        let request = app.post("/api/auth/ChangePassword").header("apikey", &key);
        let response = request.header("Content-Type", "application/json").body(body).send();
        assert!(response.problem(400)["errors"][""].is_array(), "{body}");
    }
    assert!(app.accepts(&key), "the rejected requests change nothing");
    assert_eq!(app.admin_key(), key);
}

#[apply(both_databases!)]
fn one_of_several_concurrent_changes_succeeds(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let barrier = Barrier::new(4);
    let statuses: Vec<u16> = std::thread::scope(|scope| {
        let changes: Vec<_> = (0..4)
            .map(|n| {
                let (app, key, barrier) = (&app, &key, &barrier);
                scope.spawn(move || {
                    barrier.wait();
                    app.change_password(key, &format!("{NEW} {n}")).status
                })
            })
            .collect();
        changes.into_iter().map(|change| change.join().unwrap()).collect()
    });
    assert_eq!(
        statuses.iter().filter(|status| **status == 200).count(),
        1,
        "{statuses:?}"
    );
    // The others arrive while another change runs, or after the caller's key has been revoked.
    let rejected = statuses.iter().filter(|status| [401, 503].contains(status));
    assert_eq!(rejected.count(), 3, "{statuses:?}");
    let working = (0..4).filter(|n| app.log_in(ADMIN, &format!("{NEW} {n}"), "d").status == 200);
    assert_eq!(working.count(), 1);
}
