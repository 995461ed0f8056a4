use serde_json::json;
use test_support::{Backend, apply, both_databases};

use crate::account::{Browser, USER, USER_PASSWORD};
use crate::pages::anonymous_form;
use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp};

const PASSWORD: (&str, &str) = ("current-password", ADMIN_PASSWORD);

/// Starts a server with the user [`USER`].
fn app(backend: Backend) -> TestApp {
    let app = TestApp::on(backend);
    app.add_user(USER, USER_PASSWORD);
    app
}

#[apply(both_databases!)]
fn pages_are_small_and_use_no_other_host(backend: Backend) {
    let app = TestApp::on(backend);
    let admin_key = app.admin_key();
    let longest = |number: usize, c: &str| format!("{number:03}{}", c.repeat(252));
    for number in 0..16 {
        let user = json!({"name": longest(number, "\""), "email": longest(number, "'"), "password": USER_PASSWORD});
        let created = app
            .post("/api/account/users")
            .header("apikey", &admin_key)
            .json(&user)
            .send();
        assert_eq!(created.status, 201, "{}", created.text());
        let hosts: Vec<String> = (0..20)
            .map(|host| format!("{host}.{}.example", vec!["a".repeat(60); 3].join(".")))
            .collect();
        let key = json!({"device": longest(number, "\""), "scope": "gateway", "hosts": hosts});
        let issued = app
            .post("/api/account/keys")
            .header("apikey", &admin_key)
            .json(&key)
            .send();
        assert_eq!(issued.status, 201, "{}", issued.text());
    }
    let admin = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD);
    for path in [
        "",
        "users",
        "users/1",
        "users/2",
        "throttled",
        "new-key",
        "password",
        "none",
    ] {
        let html = admin.request(&app, "GET", &format!("/account/{path}")).send().text();
        let mut size = html.len();
        for attribute in ["href=\"", "src=\"", "action=\""] {
            for rest in html.split(attribute).skip(1) {
                let target = rest.split('"').next().unwrap();
                let is_own = (target.starts_with('/') && !target.starts_with("//")) || target.starts_with('#');
                assert!(is_own, "{target}");
                if target.starts_with("/account/files/") {
                    let file = app.get(target).header("Accept-Encoding", "gzip").send();
                    assert_eq!(file.status, 200, "{target}");
                    size += file.body.len();
                }
            }
        }
        assert!(size < 60_000, "/account/{path} has {size} bytes");
    }
}

#[apply(both_databases!)]
fn pages_restrict_what_browsers_do(backend: Backend) {
    let app = app(backend);
    let admin = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD);
    let link = admin.submit(&app, "/account/users/2/link", &[PASSWORD]);
    for response in [
        app.get("/account/sign-in").send(),
        app.get("/account/").send(),
        app.get("/account/none").send(),
        app.get("/account/link/x").send(),
        anonymous_form(&app, "/account/sign-in", &[("user", "x")]).send(),
        admin.request(&app, "GET", "/account/").send(),
        admin.request(&app, "GET", "/account/users/2").send(),
        admin.submit(&app, "/account/password", &[]),
        link,
    ] {
        let header = |name: &str| response.header(name).unwrap_or_default();
        let policy = header("content-security-policy");
        for part in [
            "default-src 'none';",
            "script-src 'self';",
            "style-src 'self';",
            "base-uri 'none';",
            "form-action 'self';",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{part}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(header("x-frame-options"), "DENY");
        assert_eq!(header("cache-control"), "no-store");
        // With no-referrer, browsers would send `Origin: null` with forms.
        assert_eq!(header("referrer-policy"), "strict-origin");
        assert_eq!(header("x-content-type-options"), "nosniff");
        let html = response.text();
        for inline in ["<style", " style=", "onclick", "onload", "javascript:", "<script>"] {
            assert!(!html.contains(inline), "{inline}: {html}");
        }
    }
}

#[apply(both_databases!)]
fn malformed_forms_are_rejected(backend: Backend) {
    let app = app(backend);
    let admin = Browser::with_form(&app, ADMIN, ADMIN_PASSWORD);
    let token = format!("token={}", admin.token(&app));
    let send = |body: Vec<u8>, content_type: &str| {
        let request = admin.request(&app, "POST", "/account/password").body(body);
        request.header("Content-Type", content_type).send()
    };
    let form = "application/x-www-form-urlencoded";
    for (body, content_type, status) in [
        (b"token=%".to_vec(), form, 400),
        (b"token=%ff".to_vec(), form, 400),
        (b"token=\xff".to_vec(), form, 400),
        (token.clone().into_bytes(), "text/plain", 400),
        (token.clone().into_bytes(), "multipart/form-data; boundary=x", 400),
        (b"{}".to_vec(), "application/json", 400),
        (vec![b'a'; 20_000], form, 413),
        (format!("token=x&{token}").into_bytes(), form, 403),
        (format!("Token{}", &token[5..]).into_bytes(), form, 403),
    ] {
        let response = send(body, content_type);
        assert_eq!(response.status, status, "{content_type}: {}", response.text());
        assert!(response.text().contains("This did not work"));
    }
}
