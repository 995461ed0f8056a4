use chrono::TimeDelta;
use shoko_auth::clock::Clock;
use test_support::process::run_with_input;
use test_support::{Backend, apply, both_databases};

use crate::dialects::{AllDialects, token};
use crate::support::program;

#[apply(both_databases!)]
fn a_zettelstore_token_is_renewed_after_a_quarter_of_its_lifetime(backend: Backend) {
    let clock = Clock::manual();
    let app = AllDialects::with(backend, |settings| {
        settings.core.clock = clock.clone();
        settings.dialects.zettelstore.as_mut().unwrap().token_lifetime = TimeDelta::seconds(8);
    });
    let first = app.zettelstore_token();
    clock.advance(TimeDelta::milliseconds(1999));
    let (same, seconds) = token(&app.renew(&first));
    assert!(same == first && (6..=7).contains(&seconds), "{seconds}");
    clock.advance(TimeDelta::milliseconds(1));
    let (new, seconds) = token(&app.renew(&first));
    assert!(new != first && seconds == 8 && app.accepts(&first) && app.accepts(&new));
    assert_ne!(app.zettelstore_token(), new, "every login issues a new token");
    for value in [
        format!("Bearer  {first}"),
        format!("Basic {first}"),
        "Bearer".to_owned(),
        String::new(),
    ] {
        let response = app.request("PUT", "/a").header("Authorization", &value).send();
        assert_eq!(
            (response.status, response.text().as_str()),
            (400, "Not authenticated\n"),
            "{value}"
        );
    }
    assert_eq!(
        (
            app.request("DELETE", "/a/").send().status,
            app.get("/a/20240101000000").send().status
        ),
        (405, 405)
    );
}

#[test]
fn durations_out_of_range_fail_the_start() {
    for (name, value) in [
        ("SHOKO_AUTH_ZETTELSTORE_TOKEN_LIFETIME", "300000y"),
        ("SHOKO_AUTH_ZETTELSTORE_TOKEN_LIFETIME", "0s"),
        ("SHOKO_AUTH_ZETTELSTORE_LOGIN_DELAY", "500000000000y"),
    ] {
        let output = run_with_input(program(&["openapi"]).env(name, value), "");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && (error.contains("must be between") || error.contains("the maximum is")),
            "{error}"
        );
    }
}
