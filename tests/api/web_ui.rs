use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use shoko_auth::model::SecretText;
use tempfile::TempDir;
use test_support::{Backend, Client, Request, Response, apply, both_databases};

use crate::support::{RECORDED_PASSWORD as PASSWORD, TestApp, limit_waits, program};

const PAGE: &str = "<!doctype html><title>Shoko</title>";

/// A server with a folder of files like those of a built web UI.
struct WebUiApp {
    app: TestApp,
    folder: PathBuf,
    _around: TempDir,
}

impl WebUiApp {
    fn on(backend: Backend) -> Self {
        let around = tempfile::tempdir().unwrap();
        let folder = around.path().join("ui");
        fs::create_dir_all(folder.join("assets")).unwrap();
        fs::write(folder.join("index.html"), PAGE).unwrap();
        fs::write(folder.join("assets/Main-B5x.js"), "start()").unwrap();
        fs::write(folder.join(".hidden"), "secret").unwrap();
        fs::write(around.path().join("outside.txt"), "secret").unwrap();
        let app = TestApp::with(backend, |settings| {
            settings.first_admin.password = Some(SecretText::new(PASSWORD.to_owned()));
            settings.web_ui = Some(folder.clone());
            limit_waits(settings);
        });
        Self {
            app,
            folder,
            _around: around,
        }
    }
}

impl std::ops::Deref for WebUiApp {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.app
    }
}

/// A browser that runs the web UI. It sends requests that were captured from the real web UI.
struct Browser<'a> {
    server: &'a Client,
    /// Empty until a user is logged in.
    key: String,
}

impl<'a> Browser<'a> {
    fn open(server: &'a Client) -> Self {
        Self {
            server,
            key: String::new(),
        }
    }

    fn call(&self, method: &str, path: &str) -> Request {
        let referer = format!("{}/webui/login?redirectTo=/webui/settings/api-keys", self.server.url);
        let request = self.server.request(method, path).headers(&[
            ("Accept", "application/json, text/plain, */*"),
            ("Referer", &referer),
            ("Sec-Fetch-Site", "same-origin"),
            ("apikey", &self.key),
        ]);
        if method == "GET" {
            request
        } else {
            request.header("Origin", &self.server.url)
        }
    }

    fn get(&self, path: &str) -> Response {
        self.call("GET", path).send()
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Response {
        self.call(method, path)
            .header("Content-Type", "application/json")
            .body(body)
            .send()
    }

    /// Sends the requests of the login page.
    fn load(&self) {
        let page = self
            .server
            .get("/webui/login?redirectTo=/webui/settings/api-keys")
            .send();
        assert_eq!((page.status, page.text().as_str()), (200, PAGE));
        assert_eq!(self.server.get("/webui/assets/Main-B5x.js").send().text(), "start()");
        let theme = self
            .server
            .get("/api/v3/WebUI/Theme.css")
            .header("Accept", "text/css,*/*;q=0.1");
        assert_eq!(theme.send().status, 404);
        let server = &self.get("/api/v3/Init/Version").json()["Server"];
        assert_eq!(
            (&server["Version"], &server["ReleaseChannel"]),
            (&json!("6.0.0"), &json!("Stable"))
        );
        assert_eq!(self.get("/api/v3/Init/Status").json()["State"], "Started");
        assert_eq!(self.get("/api/v3/Image/Random/Backdrop/Metadata").status, 404);
        let rejected = self.send(
            "POST",
            "/api/auth",
            r#"{"user":"Default","pass":"certainly wrong","device":"web-ui"}"#,
        );
        rejected.problem(401);
    }

    /// Logs in, and sends the requests of the pages that follow the login page.
    fn log_in(&mut self, password: &str) {
        let body = format!(r#"{{"user":"Default","pass":"{password}","device":"web-ui"}}"#);
        let response = self.send("POST", "/api/auth", &body);
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["apikey"].as_str().unwrap().clone_into(&mut self.key);
        let settings = self.get("/api/v3/Settings").json();
        assert!(
            settings["WebUI_Settings"].is_string() && settings["AniDb"].is_object(),
            "{settings}"
        );
        let me = self.get("/api/v3/User/Current").json();
        for member in [
            "ID",
            "Username",
            "IsAdmin",
            "CommunitySites",
            "RestrictedTags",
            "Avatar",
            "PlexUsernames",
        ] {
            assert!(me.get(member).is_some(), "{member}");
        }
        let mine = |key: &Value| key["Username"] == "Default" && key["Device"] == "web-ui";
        assert!(self.get("/api/auth").json().as_array().unwrap().iter().any(mine));
        for path in [
            "/api/v3/ManagedFolder",
            "/api/v3/Plugin/Pages",
            "/api/v3/WebUI/LatestVersion?channel=Auto&force=false",
            "/api/v3/WebUI/LatestServerVersion?channel=Auto&force=false",
            "/api/v3/Image/Random/Backdrop",
        ] {
            assert_eq!(self.get(path).status, 404, "{path}");
        }
        let feeds = "anidb%2Cfile%2Cmetadata%2Crelease%2Cqueue%2Cnetwork%2Cavdump%2Cconfiguration";
        let hub = self.call(
            "POST",
            &format!("/signalr/aggregate/negotiate?feeds={feeds}&negotiateVersion=1"),
        );
        let bearer = format!("Bearer {}", self.key);
        assert_eq!(
            hub.headers(&[("Authorization", &bearer), ("Content-Length", "0")])
                .send()
                .status,
            404
        );
    }

    fn change_password(&self, body: &str) {
        let changed = self.send("POST", "/api/v3/User/1/ChangePassword", body);
        assert_eq!(changed.status, 200, "{}", changed.text());
    }

    fn devices(&self) -> Vec<String> {
        let keys = self.get("/api/auth").json();
        keys.as_array()
            .unwrap()
            .iter()
            .map(|key| key["Device"].as_str().unwrap().to_owned())
            .collect()
    }
}

#[apply(both_databases!)]
fn the_web_ui_logs_in_manages_keys_and_changes_the_password(backend: Backend) {
    let app = WebUiApp::on(backend);
    let mut browser = Browser::open(&app);
    browser.load();
    browser.log_in(PASSWORD);
    for (body, device) in [
        ("123", "123"),
        (r#""Living room TV""#, "Living room TV"),
        ("true", "true"),
    ] {
        let issued = browser.send("POST", "/api/auth/apikey", body);
        assert_eq!(
            issued.header("content-type").as_deref(),
            Some("text/plain; charset=utf-8"),
            "{body}"
        );
        assert!(
            app.accepts(&issued.text()) && browser.devices().contains(&device.to_owned()),
            "{body}"
        );
        assert_eq!(browser.send("DELETE", "/api/auth", body).status, 200, "{body}");
        assert!(!app.accepts(&issued.text()) && app.accepts(&browser.key), "{body}");
        assert_eq!(browser.devices(), ["web-ui"]);
    }
    let mut second = Browser::open(&app);
    second.load();
    second.log_in(PASSWORD);
    assert_eq!(second.key, browser.key);
    browser.change_password(r#"{"Password":"another long one","RevokeAPIKeys":false}"#);
    assert!(app.accepts(&browser.key));
    browser.change_password(r#"{"Password":"a third long one","RevokeAPIKeys":true}"#);
    assert!(!app.accepts(&browser.key));
    let old_key = browser.key.clone();
    browser.log_in("a third long one");
    assert!(browser.key != old_key && !app.accepts(&old_key));
}

#[apply(both_databases!)]
fn pages_are_revalidated_and_file_names_are_case_sensitive(backend: Backend) {
    let app = WebUiApp::on(backend);
    for path in ["/", "/webui", "/WebUI"] {
        let response = app.get(path).send();
        assert_eq!(
            (response.status, response.header("location").as_deref()),
            (302, Some("/webui/")),
            "{path}"
        );
    }
    for path in [
        "/webui/",
        "/webui/index.html",
        "/webui/login",
        "/WEBUI/deep/down/",
        "/webui/assets/main-b5x.js",
        "/webui/assets",
    ] {
        let response = app.get(path).send();
        assert_eq!((response.status, response.text().as_str()), (200, PAGE), "{path}");
        assert_eq!(response.header("cache-control").as_deref(), Some("no-cache"), "{path}");
        assert_eq!(
            response.header("content-type").as_deref(),
            Some("text/html; charset=utf-8"),
            "{path}"
        );
    }
    let file = app.get("/webui/assets/Main-B5x.js").send();
    assert_eq!((file.text().as_str(), file.header("cache-control")), ("start()", None));
    assert!(file.header("content-type").unwrap().starts_with("text/javascript"));
    let tag = file.header("etag").unwrap();
    assert_eq!(
        app.get("/webui/assets/Main-B5x.js")
            .header("If-None-Match", &tag)
            .send()
            .status,
        304
    );
    let head = app.request("HEAD", "/webui/assets/Main-B5x.js").send();
    assert_eq!((head.status, head.body.len()), (200, 0));
    app.post("/webui/login").send().problem(405);
    assert_eq!(app.get("/swagger/").send().status, 200, "Swagger UI stays at its path");
}

#[apply(both_databases!)]
fn special_files_do_not_block_requests(backend: Backend) {
    let app = WebUiApp::on(backend);
    let file = |name: &str| app.folder.join(name);
    fs::write(file("empty.css"), "").unwrap();
    for range in ["bytes=-2", "bytes=0-", "bytes=0-0"] {
        let response = app.get("/webui/empty.css").header("Range", range).send();
        assert_eq!((response.status, response.body.len()), (200, 0), "{range}");
    }
    assert!(Command::new("mkfifo").arg(file("pipe.js")).status().unwrap().success());
    assert_eq!(app.get("/webui/pipe.js").send().text(), PAGE);
    fs::remove_file(file("index.html")).unwrap();
    app.get("/webui/").send().problem(404);
    assert!(
        Command::new("mkfifo")
            .arg(file("index.html"))
            .status()
            .unwrap()
            .success()
    );
    for _ in 0..20 {
        app.get("/webui/").send().problem(404);
    }
    fs::remove_file(file("index.html")).unwrap();
    fs::write(file("index.html"), PAGE).unwrap();
    assert_eq!(app.get("/webui/").send().text(), PAGE);
}

#[apply(both_databases!)]
fn no_path_leads_out_of_the_folder_or_to_a_hidden_file(backend: Backend) {
    let app = WebUiApp::on(backend);
    for path in [
        "/webui/../outside.txt",
        "/webui/%2e%2e/outside.txt",
        "/webui/..%2foutside.txt",
        "/webui/%252e%252e/outside.txt",
        "/webui/assets/../../outside.txt",
        "/webui/assets/../../../../../../etc/passwd",
        "/webui//etc/passwd",
        "/webui/%2fetc/passwd",
        "/webui/.hidden",
        "/webui/%2ehidden",
        "/webui/%00",
        "/webui/%ff",
        "/webui/a%5c..%5cb",
    ] {
        let response = app.get(path).send();
        assert_eq!((response.status, response.text().as_str()), (200, PAGE), "{path}");
    }
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn the_web_ui_is_served_while_the_database_is_offline() {
    let app = WebUiApp::on(Backend::Postgres);
    app.database.take_offline();
    assert_eq!(app.get("/webui/").send().text(), PAGE);
    let browser = Browser::open(&app);
    assert_eq!(browser.get("/api/v3/Init/Status").json()["State"], "Starting");
}

#[test]
fn an_unusable_web_ui_folder_fails_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let fails = |base_path: &str| {
        let mut command = program(&["serve"]);
        command
            .env("SHOKO_AUTH_WEBUI", folder.path())
            .env("SHOKO_AUTH_BASE_PATH", base_path);
        command.env("SHOKO_AUTH_DATA_DIR", folder.path());
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = fails("/");
    assert!(
        code == Some(2) && error.contains("SHOKO_AUTH_WEBUI") && error.contains("index.html"),
        "{error}"
    );
    let mut list = program(&["user", "list"]);
    list.env("SHOKO_AUTH_WEBUI", folder.path())
        .env("SHOKO_AUTH_DATA_DIR", folder.path());
    assert!(
        list.output().unwrap().status.success(),
        "other commands do not need the folder"
    );
    assert!(
        list.env("SHOKO_AUTH_WEBUI", "")
            .env("SHOKO_AUTH_V1_LOGIN", "")
            .output()
            .unwrap()
            .status
            .success()
    );
    fs::create_dir(folder.path().join("index.html")).unwrap();
    assert_eq!(fails("/").0, Some(2), "index.html must be a file");
    fs::remove_dir(folder.path().join("index.html")).unwrap();
    fs::write(folder.path().join("index.html"), PAGE).unwrap();
    let (code, error) = fails("/auth");
    assert!(code == Some(2) && error.contains("SHOKO_AUTH_BASE_PATH"), "{error}");
}
