use test_support::{Backend, Request, apply, both_databases};

use super::apikey;
use crate::support::{ADMIN, app_with_recorded_password};

#[apply(both_databases!)]
fn the_sdk_generated_from_shokos_document_reads_every_response(backend: Backend) {
    let app = app_with_recorded_password(backend);
    let accept = [("Content-Type", "application/json-patch+json")];
    let accepts = ["text/plain", "application/json", "text/json"];
    let request = |request: Request| {
        let request = request.headers(&accept);
        accepts
            .iter()
            .fold(request, |request, kind| request.header("Accept", kind))
    };
    let body = r#"{"user":"Default","pass":"correct horse battery","device":"sdk"}"#;
    let key = apikey(&request(app.post("/api/v3/api/auth")).body(body).send());
    for (body, status) in [
        (r#"{"user":"Default","pass":"wrong","device":"sdk"}"#, 401),
        ("{}", 400),
    ] {
        let rejected = request(app.post("/api/v3/api/auth")).body(body).send();
        assert_eq!(rejected.status, status);
        assert_eq!(rejected.header("content-type").as_deref(), Some("application/json"));
    }
    let change = request(app.post("/api/v3/api/auth/ChangePassword")).header("apikey", &key);
    assert_eq!(change.body(r#""new password""#).send().status, 200);
    let key = app.key(ADMIN, "new password", "sdk");
    assert_eq!(app.delete(&format!("/api/v3/api/auth?apikey={key}")).send().status, 200);
    assert!(!app.accepts(&key));
}
