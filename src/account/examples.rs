//! The examples in the OpenAPI document.

use serde_json::{Value, json};

#[must_use]
pub fn session() -> Value {
    json!({"userId": 1, "user": "Default", "isAdmin": true, "kind": "session", "device": "Firefox on Linux",
        "createdAt": "2030-01-01T00:00:00Z", "expiresAt": "2030-01-08T00:00:00Z", "endsAt": "2030-01-31T00:00:00Z"})
}

fn key() -> Value {
    json!({"id": 7, "kind": "device", "device": "my script", "scope": "gateway", "hosts": ["app.example.org"],
        "createdAt": "2030-01-01T00:00:00Z", "expiresAt": null, "lastUsedAt": null, "lastUsedFrom": null,
        "isCurrent": false})
}

#[must_use]
pub fn keys() -> Value {
    json!({"total": 1, "list": [key()]})
}

#[must_use]
pub fn issued_key() -> Value {
    let mut issued = key();
    issued["key"] = json!("7d9b6d7c-3a0c-8a51-9d1e-0f6c5a3b2e10");
    issued
}

#[must_use]
pub fn user() -> Value {
    json!({"id": 2, "name": "bob", "email": "bob@example.org", "isAdmin": false, "isDisabled": false,
        "hasPassword": true, "createdAt": "2030-01-01T00:00:00Z", "throttledUntil": null})
}

#[must_use]
pub fn users() -> Value {
    json!({"total": 1, "list": [user()]})
}

#[must_use]
pub fn created_user() -> Value {
    json!({"id": 2, "name": "bob", "link": link()})
}

#[must_use]
pub fn link() -> Value {
    json!({"path": "/account/link/00112233445566778899aabbccddeeff",
        "url": "https://login.example.org/account/link/00112233445566778899aabbccddeeff",
        "expiresAt": "2030-01-02T00:00:00Z"})
}

#[must_use]
pub fn throttled() -> Value {
    json!({"total": 1, "unknownNames": 0, "list": [
        {"user": null, "network": "203.0.113.7/32", "failures": 20, "until": "2030-01-01T00:10:00Z"}]})
}
