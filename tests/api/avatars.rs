use serde_json::{Value, json};
use test_support::shoko_database::{ShokoDatabase, ShokoVersion};
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::import::{import, row};
use crate::support::TestApp;

const GIF: &str = "data:image/gif;base64,R0lGODlhAQABAAAAADs=";
/// A text that older versions accepted.
const LINK: &str = "https://tracker.example/pixel.gif";

#[apply(both_databases!)]
fn an_avatar_must_be_an_image_as_a_data_url_or_empty(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let send = |method: &str, path: &str, body: &Value| {
        let request = app.request(method, &format!("/api/v3/User{path}"));
        request.header("apikey", &key).json(body).send()
    };
    let svg = "data:image/svg+xml;base64,PHN2Zz48L3N2Zz4=";
    for avatar in [LINK, svg, "javascript:alert(1)", "data:image/png;base64,?"] {
        let patch = json!([{"op": "replace", "path": "/Avatar", "value": avatar}]);
        let new = json!({"Username": "bob", "Password": "Bassoon-hill", "Avatar": avatar});
        for (method, path, body) in [
            ("POST", "", &new),
            ("PUT", "/1", &json!({"Avatar": avatar})),
            ("PUT", "/Current", &json!({"Avatar": avatar})),
            ("PATCH", "/1", &patch),
            ("PATCH", "/Current", &patch),
        ] {
            let problem = send(method, path, body).problem(400);
            let text = problem["errors"]["Avatar"][0].as_str().unwrap_or_default();
            assert!(text.contains("PNG, JPEG, WebP or GIF"), "{method} {path}: {problem}");
        }
    }
    for avatar in [GIF, ""] {
        let changed = send("PUT", "/Current", &json!({"Avatar": avatar}));
        assert_eq!((changed.status, &changed.json()["Avatar"]), (200, &json!(avatar)));
    }
}

#[apply(both_databases!)]
fn a_client_can_send_an_old_avatar_back_unchanged(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    app.database.execute(&format!("UPDATE users SET avatar = '{LINK}'"));
    let send = |method: &str, body: &Value| {
        let request = app.request(method, "/api/v3/User/1").header("apikey", &key);
        request.json(body).send()
    };
    let put = send("PUT", &json!({"Avatar": LINK, "PlexUsernames": "me"}));
    assert_eq!(put.status, 200, "{}", put.text());
    let patch = json!([{"op": "replace", "path": "/Avatar", "value": LINK},
        {"op": "replace", "path": "/PlexUsernames", "value": "you"}]);
    let patched = send("PATCH", &patch).json();
    assert_eq!(
        (&patched["Avatar"], &patched["PlexUsernames"]),
        (&json!(LINK), &json!("you"))
    );
    let other = json!({"Avatar": format!("{LINK}?")});
    send("PUT", &other).problem(400);
    assert_eq!(send("PUT", &json!({"Avatar": ""})).json()["Avatar"], "");
}

#[apply(both_databases!)]
fn an_import_skips_avatars_that_are_not_images(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut shoko = ShokoDatabase::create(database.folder.path(), ShokoVersion::V5_3);
    for (id, name, metadata) in [
        (1, "gif", r#"{"ContentType":"image/gif"}"#),
        (2, "svg", r#"{"ContentType":"image/svg+xml"}"#),
        (3, "html", r#"{"ContentType":"text/html;base64,x,"}"#),
        (4, "broken", "{"),
    ] {
        shoko.user(id, Some(name), Some(""), true);
        shoko.avatar(id, b"GIF89a", metadata);
    }
    let report = import(&database, &shoko, &[]);
    for id in [2, 3, 4] {
        let (done, why) = row(&report, "JMMUser", id);
        assert!(done == "added" && why.contains("the avatar is skipped"), "{id}: {why}");
    }
    let avatars = database.texts("SELECT avatar AS text FROM users WHERE name <> 'Default' ORDER BY id");
    assert_eq!(avatars, ["data:image/gif;base64,R0lGODlh", "", "", ""]);
}
