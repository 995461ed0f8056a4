use chrono::TimeDelta;
use test_support::{Backend, Client, Response, apply, both_databases};

use crate::account::{Browser, USER, USER_PASSWORD, app_with_clock};
use crate::pages::{anonymous_form, between, encoded, location};
use crate::pages_own::key_id;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, UseDatabase};

const NEW: &str = "Clarinet-bay";
const PASSWORD: (&str, &str) = ("current-password", ADMIN_PASSWORD);
/// The page of the user [`USER`].
const USER_PAGE: &str = "/account/users/2";

/// Starts a server with the user [`USER`], and signs the administrator in.
fn signed_in(backend: Backend) -> (TestApp, Browser) {
    let app = TestApp::on(backend);
    app.add_user(USER, USER_PASSWORD);
    let admin = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD);
    (app, admin)
}

/// Returns the path of the one-time link on a page.
#[track_caller]
fn link(response: &Response) -> String {
    assert_eq!(response.status, 200, "{}", response.text());
    let link = between(&response.text(), r#"id="secret" value=""#, "\"");
    format!("/account/link/{}", link.rsplit('/').next().unwrap())
}

fn use_link(app: &Client, link: &str, password: &str) -> Response {
    let fields = [("new-password", password), ("new-password-again", password)];
    anonymous_form(app, link, &fields).send()
}

/// Sends the form of the page of [`USER`] with some fields changed.
fn change(app: &Client, admin: &Browser, changes: &[(&str, &str)]) -> Response {
    let page = admin.page(app, USER_PAGE);
    let was = |name: &str| between(&page, &format!(r#"name="was-{name}" value=""#), "\"");
    let values = ["user", "email", "admin", "disabled"].map(|name| (name, was(name)));
    let mut fields: Vec<(String, String)> = Vec::new();
    for (name, value) in &values {
        fields.push((format!("was-{name}"), value.clone()));
        let new = changes.iter().find(|(changed, _)| changed == name);
        fields.push((
            (*name).to_owned(),
            new.map_or(value.as_str(), |(_, new)| new).to_owned(),
        ));
    }
    let password = changes.iter().find(|(name, _)| *name == PASSWORD.0);
    fields.push((
        PASSWORD.0.to_owned(),
        password.map_or(PASSWORD.1, |(_, value)| value).to_owned(),
    ));
    let fields: Vec<(&str, &str)> = fields
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    admin.submit(app, USER_PAGE, &fields)
}

#[apply(both_databases!)]
fn a_user_is_invited_with_a_link_that_works_once(backend: Backend) {
    let (app, admin) = signed_in(backend);
    let fields = [("user", "carol"), ("email", "c@example.org"), PASSWORD];
    let token = admin.token(&app);
    let body = encoded(&[&[("token", token.as_str())][..], &fields].concat());
    let invited = admin.request(&app, "POST", "/account/new-user").form(&body);
    let invited = invited.header("Origin", &app.url).send();
    assert!(
        invited.text().contains(&format!("{}/account/link/", app.url)),
        "{}",
        invited.text()
    );
    let link = link(&invited);
    for _ in 0..2 {
        let form = app.get(&link).send();
        assert_eq!(form.status, 200, "opening the link does not use it up");
        assert!(form.text().contains(r#"value="carol""#) && form.text().contains("At least 8 characters."));
    }
    assert_eq!(app.request("HEAD", &link).send().status, 200);
    for (password, text) in [("carol-1987", "the user&#39;s name"), ("short", "at least 8")] {
        let rejected = use_link(&app, &link, password);
        assert_eq!(rejected.status, 400);
        assert!(
            rejected.text().contains(text) && rejected.text().contains("aria-invalid"),
            "{}",
            rejected.text()
        );
    }
    let fields = [("new-password", NEW), ("new-password-again", "other")];
    assert_eq!(anonymous_form(&app, &link, &fields).send().status, 400);
    assert_eq!(
        location(&use_link(&app, &link, NEW)),
        "/account/sign-in?notice=password-set"
    );
    let again = use_link(&app, &link, "Another-0ne");
    assert_eq!(again.status, 404);
    assert!(
        again.text().contains("This link has been used or replaced"),
        "{}",
        again.text()
    );
    assert_eq!(app.get(&link).send().status, 404);
    assert_eq!(app.get("/account/link/x").send().status, 404);
    Browser::with_form(&app, "c@example.org", NEW);
}

#[apply(both_databases!)]
fn a_reset_link_sets_a_new_password(backend: Backend) {
    let (app, admin) = signed_in(backend);
    let key = app.key(USER, USER_PASSWORD, "tv");
    assert!(
        admin
            .page(&app, USER_PAGE)
            .contains("Issue a link to set a new password")
    );
    let path = format!("{USER_PAGE}/link");
    assert_eq!(admin.submit(&app, &path, &[]).status, 400);
    let link = link(&admin.submit(&app, &path, &[PASSWORD]));
    assert!(app.accepts(&key));
    assert_eq!(use_link(&app, &link, NEW).status, 303);
    assert!(!app.accepts(&key));
    Browser::with_form(&app, USER, NEW);
}

#[apply(both_databases!)]
fn an_administrator_changes_a_user(backend: Backend) {
    let (app, admin) = signed_in(backend);
    let browser = Browser::with_form(&app, USER, USER_PASSWORD);
    for (changes, status, text) in [
        (
            &[("user", "bobby"), ("current-password", "")][..],
            400,
            "Enter your current password.",
        ),
        (
            &[("user", "bobby"), ("current-password", "wrong")],
            403,
            "Your current password is wrong.",
        ),
        (&[("user", " ")], 400, "must not be empty"),
        (&[("user", ADMIN)], 409, "Another user has this name"),
        (&[("email", "a\u{202e}b")], 400, "invisible"),
    ] {
        let failed = change(&app, &admin, changes);
        let html = failed.text();
        assert_eq!(failed.status, status, "{html}");
        assert!(
            html.contains(text) && html.contains(r#"role="alert""#),
            "{text}: {html}"
        );
        assert!(
            html.contains(&format!(r#"value="{}""#, changes[0].1)),
            "the typed value stays: {html}"
        );
    }
    let renamed = change(
        &app,
        &admin,
        &[("user", "bobby"), ("email", "b@example.org"), ("admin", "on")],
    );
    assert_eq!(location(&renamed), "/account/users/2?notice=user-changed");
    let html = admin.page(&app, &location(&renamed));
    for part in ["bobby", "b@example.org", "The user is changed.", "Administrator</span>"] {
        assert!(html.contains(part), "{part}: {html}");
    }
    assert_eq!(change(&app, &admin, &[("disabled", "on"), ("email", "")]).status, 303);
    assert!(!browser.is_signed_in(&app));
    let html = admin.page(&app, USER_PAGE);
    assert!(
        html.contains("Disabled</span>") && !html.contains("b@example.org"),
        "{html}"
    );
    assert_eq!(change(&app, &admin, &[("disabled", "")]).status, 303);
    assert!(browser.is_signed_in(&app));
}

#[apply(both_databases!)]
fn a_form_does_not_undo_changes_that_it_has_not_made(backend: Backend) {
    let (app, admin) = signed_in(backend);
    let fields = [("was-user", USER), ("user", "bobby"), PASSWORD];
    assert!(app.database.run(&["user", "disable", USER], "").status.success());
    assert_eq!(admin.submit(&app, USER_PAGE, &fields).status, 303);
    let html = admin.page(&app, USER_PAGE);
    assert!(html.contains("bobby") && html.contains("Disabled</span>"), "{html}");
}

#[apply(both_databases!)]
fn the_last_administrator_stays(backend: Backend) {
    let (app, admin) = signed_in(backend);
    let own = "/account/users/1";
    for fields in [
        &[("was-user", ADMIN), ("user", ADMIN), ("was-admin", "on"), PASSWORD][..],
        &[("was-user", ADMIN), ("user", ADMIN), ("disabled", "on"), PASSWORD],
    ] {
        let failed = admin.submit(&app, own, fields);
        assert_eq!(failed.status, 409, "{}", failed.text());
        assert!(failed.text().contains("the last administrator"));
    }
    assert_eq!(admin.submit(&app, "/account/users/1/delete", &[PASSWORD]).status, 409);
}

#[apply(both_databases!)]
fn an_administrator_signs_out_the_devices_of_a_user(backend: Backend) {
    let (app, admin) = signed_in(backend);
    let (tv, phone) = (
        app.key(USER, USER_PASSWORD, "tv"),
        app.key(USER, USER_PASSWORD, "phone"),
    );
    let page = admin.page(&app, USER_PAGE);
    let path = format!("{USER_PAGE}/keys/{}/revoke", key_id(&page, "tv"));
    assert!(page.contains(&format!(r#"formaction="{path}""#)), "{page}");
    assert_eq!(admin.submit(&app, &path, &[]).status, 400);
    assert!(app.accepts(&tv));
    let revoked = admin.submit(&app, &path, &[PASSWORD]);
    assert_eq!(location(&revoked), "/account/users/2?notice=device-signed-out");
    assert!(!app.accepts(&tv) && app.accepts(&phone));
    for _ in 0..2 {
        let all = admin.submit(&app, "/account/users/2/revoke-keys", &[PASSWORD]);
        assert_eq!(location(&all), "/account/users/2?notice=user-signed-out");
    }
    assert!(!app.accepts(&phone) && admin.is_signed_in(&app));
    assert!(admin.page(&app, USER_PAGE).contains("not signed in anywhere"));
}

#[apply(both_databases!)]
fn a_user_is_deleted_after_a_confirmation(backend: Backend) {
    let (app, admin) = signed_in(backend);
    let path = "/account/users/2/delete";
    assert!(admin.page(&app, path).contains("Delete bob?"));
    let unconfirmed = admin.submit(&app, path, &[]);
    assert_eq!(unconfirmed.status, 400);
    assert!(unconfirmed.text().contains("Delete bob?") && unconfirmed.text().contains("Enter your current password."));
    assert_eq!(
        location(&admin.submit(&app, path, &[PASSWORD])),
        "/account/users?notice=user-deleted"
    );
    for request in [admin.request(&app, "GET", USER_PAGE), admin.request(&app, "GET", path)] {
        let missing = request.send();
        assert_eq!(missing.status, 404);
        assert!(missing.text().contains("There is no such user."));
    }
    assert_eq!(admin.submit(&app, path, &[PASSWORD]).status, 404);
    assert_eq!(admin.request(&app, "GET", "/account/users/x").send().status, 404);
}

#[apply(both_databases!)]
fn users_are_searched_and_listed_in_pages(backend: Backend) {
    let (app, admin) = signed_in(backend);
    for number in 0..16 {
        app.add_user(&format!("user & {number}"), USER_PASSWORD);
    }
    let html = admin.page(&app, "/account/users");
    assert!(
        html.contains("Page 1 of 2") && html.contains(r#"rel="next" href="/account/users?search=&#38;page=2""#),
        "{html}"
    );
    assert!(html.contains(r#"aria-current="page""#));
    let found = admin.page(&app, "/account/users?search=R+%26+1");
    assert!(
        found.contains("user &#38; 1<") && found.contains("user &#38; 15<") && !found.contains("user &#38; 2<"),
        "{found}"
    );
    assert!(found.contains(r#"value="R &#38; 1""#));
    assert!(
        admin
            .page(&app, "/account/users?search=nothing")
            .contains("No user has this name")
    );
    for page in ["page=2", "page=0", "page=x", "page=99", "page=4294967296"] {
        admin.page(&app, &format!("/account/users?{page}"));
    }
}

#[apply(both_databases!)]
fn throttled_users_and_networks_are_unlocked(backend: Backend) {
    let (app, _) = app_with_clock(backend, |settings| settings.core.login_throttle = true);
    let admin = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD);
    assert!(
        admin
            .page(&app, "/account/throttled")
            .contains("No user or network has to wait.")
    );
    for user in [USER, "unknown"] {
        for _ in 0..5 {
            app.log_in(user, "wrong", "d").problem(401);
        }
    }
    let html = admin.page(&app, "/account/throttled");
    assert!(
        html.contains(r#"name="unlock-user" value="bob""#) && html.contains("One name that no user has"),
        "{html}"
    );
    assert!(admin.page(&app, USER_PAGE).contains("Has to wait"));
    let unlock = |fields: &[(&str, &str)]| admin.submit(&app, "/account/throttled", fields);
    assert_eq!(unlock(&[("unlock-user", USER)]).status, 400, "without the password");
    assert_eq!(
        location(&unlock(&[("unlock-user", USER), PASSWORD])),
        "/account/throttled?notice=unlocked"
    );
    assert!(app.key(USER, USER_PASSWORD, "d").len() > 30);
    for number in 0..20 {
        app.log_in(&format!("name {number}"), "wrong", "d");
    }
    app.log_in(USER, USER_PASSWORD, "d").problem(429);
    let html = admin.page(&app, "/account/throttled");
    assert!(html.contains(r#"name="unlock-network" value="127.0.0.1""#), "{html}");
    let throttled = unlock(&[("unlock-network", "127.0.0.1"), PASSWORD]);
    assert_eq!(
        throttled.status, 429,
        "the password of the administrator cannot be checked either"
    );
    assert!(throttled.text().contains("data-seconds"));
    for fields in [&[PASSWORD][..], &[("unlock-network", "x"), PASSWORD]] {
        assert_eq!(unlock(fields).status, 400);
    }
}

#[apply(both_databases!)]
fn a_network_is_unlocked_from_another_one(backend: Backend) {
    let (app, clock) = app_with_clock(backend, |settings| {
        settings.core.login_throttle = true;
        settings.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
    });
    let admin = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD);
    clock.advance(TimeDelta::seconds(1));
    let sign_in = || {
        let fields = [("user", USER), ("password", USER_PASSWORD)];
        let request = anonymous_form(&app, "/account/sign-in", &fields);
        request.header("X-Forwarded-For", "203.0.113.7").send().status
    };
    for number in 0..20 {
        let name = format!("name {number}");
        let fields = [("user", name.as_str()), ("password", "wrong")];
        let request = anonymous_form(&app, "/account/sign-in", &fields);
        request.header("X-Forwarded-For", "203.0.113.7").send();
    }
    assert_eq!(sign_in(), 429);
    let unlocked = admin.submit(
        &app,
        "/account/throttled",
        &[("unlock-network", "203.0.113.7/32"), PASSWORD],
    );
    assert_eq!(location(&unlocked), "/account/throttled?notice=unlocked");
    assert_eq!(sign_in(), 303);
}

#[apply(both_databases!)]
fn only_administrators_see_and_use_the_pages_for_users(backend: Backend) {
    let (app, _) = signed_in(backend);
    let browser = Browser::with_form(&app, USER, USER_PASSWORD);
    let own = browser.page(&app, "/account/");
    assert!(!own.contains("/account/users") && !own.contains("/account/throttled"));
    for path in ["users", "users/1", "users/2", "new-user", "users/1/delete", "throttled"] {
        let path = format!("/account/{path}");
        let response = browser.request(&app, "GET", &path).send();
        assert_eq!(response.status, 403, "{path}");
        assert!(response.text().contains("Only an administrator may do this."));
        assert!(
            location(&app.get(&path).send()).starts_with("/account/sign-in?return="),
            "{path}"
        );
    }
    for path in [
        "new-user",
        "users/1",
        "users/2",
        "users/1/link",
        "users/1/unlock",
        "users/1/revoke-keys",
        "users/1/keys/1/revoke",
        "users/1/delete",
        "throttled",
    ] {
        let path = format!("/account/{path}");
        let fields = [("current-password", USER_PASSWORD), ("user", "eve"), ("admin", "on")];
        assert_eq!(browser.submit(&app, &path, &fields).status, 403, "{path}");
        let anonymous = anonymous_form(&app, &path, &fields).send();
        assert_eq!(location(&anonymous), "/account/sign-in", "{path}");
    }
}
