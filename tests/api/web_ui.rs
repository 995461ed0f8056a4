use std::fs;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};
use shoko_auth::model::SecretText;
use tempfile::TempDir;

use crate::support::{
    Answer, Backend, Client, RECORDED_PASSWORD as PASSWORD, Request, TestApp, on_both_databases, program,
};

const PAGE: &str = "<!doctype html><title>Shoko</title>";

/// A server with a folder that holds what a built web UI does.
struct WithWebUi {
    app: TestApp,
    folder: PathBuf,
    _around: TempDir,
}

impl WithWebUi {
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
        });
        Self {
            app,
            folder,
            _around: around,
        }
    }
}

impl std::ops::Deref for WithWebUi {
    type Target = TestApp;

    fn deref(&self) -> &TestApp {
        &self.app
    }
}

/// A browser with the web UI, which sends what was captured of the real one.
struct Browser<'a> {
    server: &'a Client,
    /// Empty until somebody is logged in.
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

    fn get(&self, path: &str) -> Answer {
        self.call("GET", path).send()
    }

    fn send(&self, method: &str, path: &str, body: &str) -> Answer {
        self.call(method, path)
            .header("Content-Type", "application/json")
            .body(body)
            .send()
    }

    /// What the login page asks.
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
        let refused = self.send(
            "POST",
            "/api/auth",
            r#"{"user":"Default","pass":"certainly wrong","device":"web-ui"}"#,
        );
        refused.problem(401);
    }

    /// The login, and what the pages behind it ask.
    fn log_in(&mut self, password: &str) {
        let body = format!(r#"{{"user":"Default","pass":"{password}","device":"web-ui"}}"#);
        let answer = self.send("POST", "/api/auth", &body);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()["apikey"].as_str().unwrap().clone_into(&mut self.key);
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

on_both_databases! {
    fn the_whole_journey_of_the_web_ui(app: WithWebUi) {
        let mut browser = Browser::open(&app);
        browser.load();
        browser.log_in(PASSWORD);
        for (body, device) in [("123", "123"), (r#""Living room TV""#, "Living room TV"), ("true", "true")] {
            let made = browser.send("POST", "/api/auth/apikey", body);
            assert_eq!(made.header("content-type").as_deref(), Some("text/plain; charset=utf-8"), "{body}");
            assert!(app.accepts(&made.text()) && browser.devices().contains(&device.to_owned()), "{body}");
            assert_eq!(browser.send("DELETE", "/api/auth", body).status, 200, "{body}");
            assert!(!app.accepts(&made.text()) && app.accepts(&browser.key), "{body}");
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

    fn pages_are_asked_for_again_and_files_have_a_case(app: WithWebUi) {
        for path in ["/", "/webui", "/WebUI"] {
            let answer = app.get(path).send();
            assert_eq!((answer.status, answer.header("location").as_deref()), (302, Some("/webui/")), "{path}");
        }
        for path in ["/webui/", "/webui/index.html", "/webui/login", "/WEBUI/deep/down/", "/webui/assets/main-b5x.js", "/webui/assets"] {
            let answer = app.get(path).send();
            assert_eq!((answer.status, answer.text().as_str()), (200, PAGE), "{path}");
            assert_eq!(answer.header("cache-control").as_deref(), Some("no-cache"), "{path}");
            assert_eq!(answer.header("content-type").as_deref(), Some("text/html; charset=utf-8"), "{path}");
        }
        let file = app.get("/webui/assets/Main-B5x.js").send();
        assert_eq!((file.text().as_str(), file.header("cache-control")), ("start()", None));
        assert!(file.header("content-type").unwrap().starts_with("text/javascript"));
        let tag = file.header("etag").unwrap();
        assert_eq!(app.get("/webui/assets/Main-B5x.js").header("If-None-Match", &tag).send().status, 304);
        let head = app.request("HEAD", "/webui/assets/Main-B5x.js").send();
        assert_eq!((head.status, head.body.len()), (200, 0));
        app.post("/webui/login").send().problem(405);
        assert_eq!(app.get("/swagger/").send().status, 200, "is where it was");
    }

    fn odd_files_hold_nobody_up(app: WithWebUi) {
        let file = |name: &str| app.folder.join(name);
        fs::write(file("empty.css"), "").unwrap();
        for range in ["bytes=-2", "bytes=0-", "bytes=0-0"] {
            let answer = app.get("/webui/empty.css").header("Range", range).send();
            assert_eq!((answer.status, answer.body.len()), (200, 0), "{range}");
        }
        assert!(Command::new("mkfifo").arg(file("pipe.js")).status().unwrap().success());
        assert_eq!(app.get("/webui/pipe.js").send().text(), PAGE);
        fs::remove_file(file("index.html")).unwrap();
        app.get("/webui/").send().problem(404);
        assert!(Command::new("mkfifo").arg(file("index.html")).status().unwrap().success());
        for _ in 0..20 {
            app.get("/webui/").send().problem(404);
        }
        fs::remove_file(file("index.html")).unwrap();
        fs::write(file("index.html"), PAGE).unwrap();
        assert_eq!(app.get("/webui/").send().text(), PAGE);
    }

    fn no_path_leads_out_of_the_folder_or_to_a_hidden_file(app: WithWebUi) {
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
            let answer = app.get(path).send();
            assert_eq!((answer.status, answer.text().as_str()), (200, PAGE), "{path}");
        }
    }
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn the_web_ui_is_there_while_the_database_is_away() {
    let app = WithWebUi::on(Backend::Postgres);
    app.database.go_away();
    assert_eq!(app.get("/webui/").send().text(), PAGE);
    let browser = Browser::open(&app);
    assert_eq!(browser.get("/api/v3/Init/Status").json()["State"], "Starting");
}

#[test]
fn a_folder_without_a_web_ui_and_a_base_path_beside_it_are_refused_at_the_start() {
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
    assert!(list.output().unwrap().status.success(), "only the server needs it");
    assert!(
        list.env("SHOKO_AUTH_WEBUI", "")
            .env("SHOKO_AUTH_V1_LOGIN", "")
            .output()
            .unwrap()
            .status
            .success()
    );
    fs::create_dir(folder.path().join("index.html")).unwrap();
    assert_eq!(fails("/").0, Some(2), "a folder is no page");
    fs::remove_dir(folder.path().join("index.html")).unwrap();
    fs::write(folder.path().join("index.html"), PAGE).unwrap();
    let (code, error) = fails("/auth");
    assert!(code == Some(2) && error.contains("SHOKO_AUTH_BASE_PATH"), "{error}");
}
