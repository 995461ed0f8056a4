//! A client from login to logout: logs in, uses the API key, and revokes it.
//!
//! ```sh
//! printf %s "$PASSWORD" | cargo run --example log_in -- http://127.0.0.1:8111 Default
//! ```
//!
//! The password comes from standard input, because every user of the machine can see the arguments of a process.

use std::error::Error;
use std::io::{Read, stdin};
use std::time::Duration;

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Response;
use ureq::{Body, http};

/// The device name. A client chooses it once and keeps it, because a login on the same device returns the same key.
const DEVICE: &str = "log_in example";

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(url), Some(user)) = (arguments.next(), arguments.next()) else {
        return Err("usage: log_in URL USER, with the password on standard input".into());
    };
    let mut password = String::new();
    stdin().read_to_string(&mut password)?;

    let client = Client::new(&url);
    let key = client.log_in(&user, &password)?;
    println!("logged in");
    let current_user = client.current_user(&key)?;
    println!("the key belongs to {}", current_user["Username"]);
    client.revoke(&key)?;
    match client.current_user(&key) {
        Err(error) => println!("the key is revoked: {error}"),
        Ok(_) => return Err("the revoked key still works".into()),
    }
    Ok(())
}

struct Client {
    agent: Agent,
    url: String,
}

impl Client {
    fn new(url: &str) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(30)))
            .build();
        Self {
            agent: config.into(),
            url: url.trim_end_matches('/').to_owned(),
        }
    }

    fn log_in(&self, user: &str, password: &str) -> Result<String, Box<dyn Error>> {
        let login = json!({"user": user, "pass": password, "device": DEVICE});
        let request = self.agent.post(format!("{}/api/auth", self.url));
        let response = request
            .header("Content-Type", "application/json")
            .send(login.to_string())?;
        let key = json_body(response)?;
        Ok(key["apikey"].as_str().ok_or("the response has no key")?.to_owned())
    }

    fn current_user(&self, key: &str) -> Result<Value, Box<dyn Error>> {
        let request = self.agent.get(format!("{}/api/v3/User/Current", self.url));
        json_body(request.header("apikey", key).call()?)
    }

    /// Revokes a key. The request needs no other proof than the key itself.
    fn revoke(&self, key: &str) -> Result<(), Box<dyn Error>> {
        let request = self.agent.delete(format!("{}/api/auth?apikey={key}", self.url));
        success(request.call()?).map(drop)
    }
}

fn json_body(response: Response<Body>) -> Result<Value, Box<dyn Error>> {
    let text = success(response)?.body_mut().read_to_string()?;
    Ok(serde_json::from_str(&text)?)
}

/// Turns an unsuccessful response into an error. The body of such a response is a problem (RFC 9457), and its
/// `detail` says what is wrong.
fn success(mut response: Response<Body>) -> Result<Response<Body>, Box<dyn Error>> {
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let retry_after = response.headers().get(http::header::RETRY_AFTER);
    let retry_after = retry_after.and_then(|seconds| seconds.to_str().ok()).map(str::to_owned);
    let text = response.body_mut().read_to_string()?;
    let problem: Value = serde_json::from_str(&text).unwrap_or_default();
    let detail = problem["detail"].as_str().or(problem["title"].as_str());
    let reason = format!("{status}: {}", detail.unwrap_or("no reason given"));
    Err(match retry_after {
        // `Retry-After` comes with 429 and 503. A real client waits this many seconds before it retries.
        Some(seconds) => format!("{reason} (retry after {seconds} s)").into(),
        None => reason.into(),
    })
}
