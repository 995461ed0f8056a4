//! Logs in, calls the server with the API key, and revokes the key. The password comes from the variable `PASSWORD`, or
//! is typed without being shown: `cargo run --example log_in -- http://127.0.0.1:8111 Default`
use std::{env, error::Error, time::Duration};

use serde_json::{Value, json};
use ureq::{Agent, Body, http::Response};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [url, user] = &arguments[..] else {
        return Err("usage: log_in URL USER".into());
    };
    let password = env::var("PASSWORD").or_else(|_| rpassword::prompt_password("Password: "))?;
    let config = Agent::config_builder().timeout_global(Some(Duration::from_secs(30)));
    let agent = Agent::new_with_config(config.http_status_as_error(false).build());
    // A login on the same device returns the same key, so name it after the machine.
    let login = json!({"user": user, "pass": password, "device": "log_in.rs on my laptop"}).to_string();
    let request = agent.post(format!("{url}/api/auth"));
    let login = read(request.content_type("application/json").send(login)?)?;
    let key = login["apikey"].as_str().ok_or("the response has no key")?;
    // A real program keeps the key and logs in again only after a 401.
    let me = agent.get(format!("{url}/api/v3/User/Current"));
    println!("logged in as {}", read(me.header("apikey", key).call()?)?["Username"]);
    let revoke = agent.delete(format!("{url}/api/auth")).force_send_body();
    read(revoke.content_type("application/json").send(json!(key).to_string())?)?;
    Ok(())
}

/// Returns the body of a response. The body of an error is a problem (RFC 9457), whose `detail` says what is wrong.
fn read(mut response: Response<Body>) -> Result<Value, Box<dyn Error>> {
    let body: Value = serde_json::from_str(&response.body_mut().read_to_string()?).unwrap_or_default();
    if response.status().is_success() {
        return Ok(body);
    }
    let reason = body["detail"].as_str().or(body["title"].as_str());
    Err(reason.unwrap_or("no reason given").into())
}
