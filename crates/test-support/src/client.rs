//! An HTTP client that sends the headers and bytes that a test gives it, and no other optional headers.

use serde_json::{Value, json};
use ureq::http;

use crate::wait::MAX_WAIT;

/// A client of one server.
#[derive(Clone, Debug)]
pub struct Client {
    /// The URL of the server, without a slash at the end.
    pub url: String,
}

impl Client {
    pub fn get(&self, path: &str) -> Request {
        self.request("GET", path)
    }

    pub fn post(&self, path: &str) -> Request {
        self.request("POST", path)
    }

    pub fn delete(&self, path: &str) -> Request {
        self.request("DELETE", path)
    }

    pub fn request(&self, method: &str, path: &str) -> Request {
        Request {
            method: method.to_owned(),
            url: format!("{}{path}", self.url),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Returns the host and port of the server, for tests that open a connection themselves.
    pub fn address(&self) -> &str {
        self.url.trim_start_matches("http://")
    }

    pub fn log_in(&self, user: &str, password: &str, device: &str) -> Response {
        self.post("/api/auth")
            .json(&json!({"user": user, "pass": password, "device": device}))
            .send()
    }

    /// Logs in and returns the API key. Panics if the login fails.
    #[track_caller]
    pub fn key(&self, user: &str, password: &str, device: &str) -> String {
        let response = self.log_in(user, password, device);
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()["apikey"].as_str().expect("a key").to_owned()
    }

    /// Returns whether the key is valid.
    #[track_caller]
    pub fn accepts(&self, key: &str) -> bool {
        let response = self.get("/api/v3/User/Current").header("apikey", key).send();
        assert!([200, 401].contains(&response.status), "{}", response.text());
        response.status == 200
    }

    /// Changes the password of the key's owner.
    pub fn change_password(&self, key: &str, password: &str) -> Response {
        self.post("/api/auth/ChangePassword")
            .header("apikey", key)
            .json(&json!(password))
            .send()
    }
}

/// A request. Besides `headers`, the client sends only the headers that HTTP requires.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    url: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

impl Request {
    /// Adds a header. Earlier headers with the same name stay.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    #[must_use]
    pub fn headers(self, headers: &[(&str, &str)]) -> Self {
        headers
            .iter()
            .fold(self, |request, (name, value)| request.header(name, value))
    }

    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sets a JSON body. Adds a content type if the request has none yet.
    #[must_use]
    pub fn json(mut self, value: &Value) -> Self {
        let mut names = self.headers.iter().map(|(name, _)| name);
        if !names.any(|name| name.eq_ignore_ascii_case("content-type")) {
            self = self.header("Content-Type", "application/json");
        }
        self.body(value.to_string())
    }

    /// Sets a form body and its content type. `fields` must already be encoded.
    #[must_use]
    pub fn form(self, fields: &str) -> Self {
        self.header("Content-Type", "application/x-www-form-urlencoded")
            .body(fields)
    }

    pub fn send(self) -> Response {
        let config = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .allow_non_standard_methods(true)
            .max_redirects(0)
            .proxy(None)
            .accept("")
            .user_agent("")
            .timeout_global(Some(MAX_WAIT));
        let agent = ureq::Agent::new_with_config(config.build());
        let mut request = http::Request::builder().method(self.method.as_str()).uri(&self.url);
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        let sent = match self.body {
            Some(body) => agent.run(request.body(body).expect("a request")),
            None => agent.run(request.body(()).expect("a request")),
        };
        let mut response = sent.unwrap_or_else(|e| panic!("{} {}: {e}", self.method, self.url));
        Response {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.body_mut().read_to_vec().expect("a body"),
        }
    }
}

#[derive(Debug)]
pub struct Response {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Vec<u8>,
}

impl Response {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }

    /// Returns the value of a header. Several values are joined by commas.
    pub fn header(&self, name: &str) -> Option<String> {
        let values: Vec<&str> = self
            .headers
            .get_all(name)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// Asserts that the response has this status and that its body is a problem (RFC 9457), and returns the problem.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(
            self.header("content-type").as_deref(),
            Some("application/problem+json; charset=utf-8")
        );
        let problem = self.json();
        assert_eq!(problem["status"], json!(status));
        assert!(problem["type"].is_string() && problem["title"].is_string(), "{problem}");
        problem
    }
}
