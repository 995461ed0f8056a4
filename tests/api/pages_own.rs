use chrono::TimeDelta;
use test_support::{Backend, apply, both_databases};

use crate::account::{Browser, USER, USER_PASSWORD, app_with_clock};
use crate::pages::{between, location};
use crate::support::{ADMIN, ADMIN_PASSWORD, DEVICE, TestApp};

const NEW: &str = "Clarinet-bay";

/// Returns the id of a key in a list.
#[track_caller]
pub fn key_id(html: &str, device: &str) -> String {
    let (before, _) = html.split_once(&format!("\">{device}</h3>")).expect(device);
    before.rsplit_once("id=\"k").expect("an id").1.to_owned()
}

#[apply(both_databases!)]
fn a_person_sees_and_signs_out_devices(backend: Backend) {
    let (app, clock) = app_with_clock(backend, |_| ());
    let key = app.key(USER, USER_PASSWORD, "living room");
    let other = Browser::with_form(&app, USER, USER_PASSWORD);
    let browser = Browser::with_form(&app, USER, USER_PASSWORD);
    clock.advance(TimeDelta::minutes(3));
    let html = browser.page(&app, "/account/");
    for part in [
        "living room",
        "3 minutes ago",
        "in 7 days",
        "Never",
        r#"aria-current="page""#,
    ] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert_eq!(html.matches("This browser").count(), 1);
    let this_browser = between(&html, "This browser", "</li>");
    assert!(
        this_browser.contains("just now") && this_browser.contains("from 127.0.0.1"),
        "{this_browser}"
    );
    let id = key_id(&html, "living room");
    let revoked = browser.submit(&app, &format!("/account/keys/{id}/revoke"), &[]);
    assert_eq!(location(&revoked), "/account/?notice=device-signed-out");
    assert!(!app.accepts(&key));
    assert!(
        browser
            .page(&app, &location(&revoked))
            .contains("The device is signed out.")
    );
    let again = browser.submit(&app, &format!("/account/keys/{id}/revoke?page=2"), &[]);
    assert_eq!(
        location(&again),
        "/account/?page=2&notice=device-signed-out",
        "a second click is no error, and the list stays where it is"
    );
    assert_eq!(browser.submit(&app, "/account/keys/x/revoke", &[]).status, 404);

    let key = app.key(USER, USER_PASSWORD, "tv");
    let others = browser.submit(&app, "/account/revoke-others", &[]);
    assert_eq!(location(&others), "/account/?notice=others-signed-out");
    assert!(!app.accepts(&key) && !other.is_signed_in(&app) && browser.is_signed_in(&app));

    let key = app.key(USER, USER_PASSWORD, "tv");
    let all = browser.submit(&app, "/account/revoke-all", &[]);
    assert_eq!(location(&all), "/account/sign-in?notice=signed-out");
    assert!(!app.accepts(&key) && !browser.is_signed_in(&app));
}

#[apply(both_databases!)]
fn invisible_characters_are_shown_as_escapes(backend: Backend) {
    let app = TestApp::on(backend);
    app.key(ADMIN, ADMIN_PASSWORD, "tv\u{202e}vt");
    let browser = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD);
    for path in ["/account/", "/account/users/1"] {
        let html = browser.page(&app, path);
        assert!(html.contains(r"tv\u{202e}vt") && !html.contains('\u{202e}'), "{html}");
    }
}

#[apply(both_databases!)]
fn a_person_cannot_sign_out_the_devices_of_others(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user(USER, USER_PASSWORD);
    let key = app.admin_key();
    let id = key_id(
        &Browser::with_form(&app, ADMIN, ADMIN_PASSWORD).page(&app, "/account/"),
        DEVICE,
    );
    let browser = Browser::with_form(&app, USER, USER_PASSWORD);
    browser.submit(&app, &format!("/account/keys/{id}/revoke"), &[]);
    assert!(app.accepts(&key));
}

#[apply(both_databases!)]
fn a_key_is_shown_once(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user(USER, USER_PASSWORD);
    let browser = Browser::with_form(&app, USER, USER_PASSWORD);
    let issue = |fields: &[(&str, &str)]| browser.submit(&app, "/account/new-key", fields);
    let password = ("current-password", USER_PASSWORD);
    let issued = issue(&[("device", "script"), ("expiry", ""), ("scope", "full"), password]);
    assert_eq!(issued.status, 200, "{}", issued.text());
    let key = between(&issued.text(), r#"id="secret" value=""#, "\"");
    assert!(app.accepts(&key) && issued.text().contains("data-copy"));
    assert!(!browser.page(&app, "/account/").contains(&key));
    for (fields, status, text) in [
        (
            &[("device", "script"), ("expiry", ""), ("scope", "full"), password][..],
            409,
            "already has a key",
        ),
        (
            &[("device", "b"), ("expiry", ""), ("scope", "full")],
            400,
            "current password is required",
        ),
        (
            &[
                ("device", "b"),
                ("expiry", ""),
                ("scope", "full"),
                ("current-password", "x"),
            ],
            403,
            "Your current password is wrong.",
        ),
        (
            &[("device", ""), ("expiry", "1"), ("scope", "full")],
            400,
            "must not be empty",
        ),
        (
            &[("device", "b"), ("expiry", "1"), ("scope", "all")],
            400,
            "does not offer",
        ),
        (
            &[("device", "b"), ("expiry", "400"), ("scope", "full"), password],
            400,
            "in the future",
        ),
        (
            &[
                ("device", "b"),
                ("expiry", "1"),
                ("scope", "gateway"),
                ("hosts", "a.example https://b"),
            ],
            400,
            "is not a host name",
        ),
    ] {
        let failed = issue(fields);
        let html = failed.text();
        assert_eq!(failed.status, status, "{html}");
        assert!(html.contains(text) && !html.contains(USER_PASSWORD), "{text}: {html}");
        assert!(html.contains(&format!(r#"value="{}""#, fields[0].1)), "{html}");
    }
    let hosts = ("hosts", "a.example, b.example c.example d.example");
    let gateway = issue(&[("device", "gate"), ("expiry", "1"), ("scope", "gateway"), hosts]);
    assert_eq!(
        gateway.status, 200,
        "a key of this session's lifetime needs no password"
    );
    let gateway = between(&gateway.text(), r#"id="secret" value=""#, "\"");
    assert!(!app.accepts(&gateway));
    let list = browser.page(&app, "/account/");
    assert!(list.contains("a.example, b.example, c.example and 1 more"), "{list}");
}

#[apply(both_databases!)]
fn a_person_changes_the_password(backend: Backend) {
    let app = TestApp::on(backend);
    app.add_user(USER, USER_PASSWORD);
    let (key, other) = (
        app.key(USER, USER_PASSWORD, "tv"),
        Browser::with_form(&app, USER, USER_PASSWORD),
    );
    let browser = Browser::with_form(&app, USER, USER_PASSWORD);
    assert!(
        browser
            .page(&app, "/account/password")
            .contains("At least 8 characters.")
    );
    let change = |current: &str, new: &str, again: &str| {
        let fields = [
            ("current-password", current),
            ("new-password", new),
            ("new-password-again", again),
        ];
        browser.submit(&app, "/account/password", &fields)
    };
    for (current, new, again, status, text) in [
        ("wrong", NEW, NEW, 403, "Your current password is wrong."),
        ("", NEW, NEW, 400, "Enter your current password."),
        (USER_PASSWORD, NEW, "other", 400, "The two new passwords differ."),
        (USER_PASSWORD, "short", "short", 400, "at least 8 characters"),
        (USER_PASSWORD, "password1", "password1", 400, "most common"),
    ] {
        let failed = change(current, new, again);
        let html = failed.text();
        assert_eq!(failed.status, status, "{html}");
        assert!(
            html.contains(text) && html.contains(r#"aria-invalid="true" aria-describedby="reason"#),
            "{text}: {html}"
        );
        assert!(html.contains("At least 8 characters.") && !html.contains(NEW));
    }
    assert!(app.accepts(&key));
    let changed = change(USER_PASSWORD, NEW, NEW);
    assert_eq!(location(&changed), "/account/password?notice=password-changed");
    let renewed = Browser::of(&changed);
    assert!(renewed.is_signed_in(&app) && !browser.is_signed_in(&app));
    assert!(!other.is_signed_in(&app) && !app.accepts(&key));
    Browser::with_form(&app, USER, NEW);
}
