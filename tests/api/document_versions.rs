//! The documents in OpenAPI 3.1 and 3.0.3, which must describe the same API.

use std::fs;

use serde_json::{Map, Value, json};
use test_support::{Backend, apply, both_databases};

use crate::dialects::AllDialects;
use crate::support::{TestApp, program};

/// The dialects, as the names of their files, with the path of their documents.
const DIALECTS: [(&str, &str); 3] = [("openapi", "v3"), ("zulip", "zulip"), ("zettelstore", "zettelstore")];

fn committed(file: &str) -> String {
    fs::read_to_string(format!("{}/openapi/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

fn committed_json(file: &str) -> Value {
    serde_json::from_str(&committed(file)).unwrap()
}

#[test]
fn the_committed_documents_are_what_the_program_prints() {
    for (name, _) in DIALECTS {
        let dialect = if name == "openapi" { "shoko" } else { name };
        for (version, file) in [("3.1", format!("{name}.json")), ("3.0", format!("{name}-3.0.json"))] {
            let printed = program(&["openapi", "--of", dialect, "--spec", version])
                .output()
                .unwrap();
            let printed = String::from_utf8(printed.stdout).unwrap();
            assert!(
                committed(&file) == printed,
                "openapi/{file} is stale: run `scripts/write-openapi`"
            );
        }
    }
    let printed = program(&["openapi"]).output().unwrap();
    assert!(
        committed("openapi.json").as_bytes() == printed.stdout,
        "these are the defaults"
    );
}

#[apply(both_databases!)]
fn each_document_is_served_in_both_versions(backend: Backend) {
    let app = AllDialects::on(backend);
    let list = app.get("/swagger/swagger-initializer.js").send().text();
    for (name, folder) in DIALECTS {
        for (path, file) in [
            (format!("{folder}/swagger.json"), format!("{name}-3.0.json")),
            (format!("{folder}/openapi-3.1.json"), format!("{name}.json")),
        ] {
            let response = app.get(&format!("/swagger/{path}")).send();
            assert!(response.status == 200 && response.text() == committed(&file), "{path}");
            assert_eq!(
                response.header("content-type").as_deref(),
                Some("application/json; charset=utf-8")
            );
            assert_eq!(app.request("HEAD", &format!("/swagger/{path}")).send().status, 200);
            assert!(list.contains(&path), "Swagger UI does not list {path}: {list}");
        }
    }
    let app = TestApp::on(backend);
    assert_eq!(app.get("/swagger/v3/openapi-3.1.json").send().status, 200);
    app.get("/swagger/zulip/openapi-3.1.json").send().problem(404);
}

#[test]
fn both_versions_describe_the_same_api() {
    for (name, _) in DIALECTS {
        let (mut new, mut old) = (
            committed_json(&format!("{name}.json")),
            committed_json(&format!("{name}-3.0.json")),
        );
        assert_eq!((&new["openapi"], &old["openapi"]), (&"3.1.0".into(), &"3.0.3".into()));
        // Only OpenAPI 3.1 has identifiers of licenses.
        for document in [&mut new, &mut old] {
            document["openapi"].take();
            document["info"]["license"].take();
        }
        let (new, old) = (common_form(&new), common_form(&old));
        assert!(!new["paths"].as_object().unwrap().is_empty());
        assert_same(&new, &old, name);
    }
}

/// Asserts that two values are equal, and names the first place at which they differ.
fn assert_same(new: &Value, old: &Value, place: &str) {
    if let (Value::Object(new), Value::Object(old)) = (new, old) {
        let names = |members: &Map<String, Value>| {
            let mut names: Vec<String> = members.keys().cloned().collect();
            names.sort();
            names
        };
        assert_eq!(names(new), names(old), "{place}");
        for (name, value) in new {
            assert_same(value, &old[name], &format!("{place} > {name}"));
        }
    } else {
        assert_eq!(new, old, "{place}");
    }
}

/// Rewrites what the two versions write differently, in a form of neither: `types` lists the types of a schema with
/// `null`, `null` is the schema's permission of null if it names no type, and `values` lists its only values.
fn common_form(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(common_form).collect(),
        Value::Object(members) => common_object(members.clone()),
        other => other.clone(),
    }
}

fn common_object(mut members: Map<String, Value>) -> Value {
    let mut permits_null = members.remove("nullable") == Some(true.into());
    let alternatives = members.get("oneOf").and_then(Value::as_array).cloned();
    if let Some(alternatives) = alternatives
        && alternatives.contains(&json!({"type": "null"}))
    {
        permits_null = true;
        members.remove("oneOf");
        let others = alternatives.into_iter().filter(|one| *one != json!({"type": "null"}));
        members.extend(others.flat_map(|one| one.as_object().unwrap().clone()));
    }
    if let Some([Value::Object(only)]) = members.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        let only = only.clone();
        members.remove("allOf");
        // Beside a reference, OpenAPI 3.0 needs the type of a schema that permits null.
        members.remove("type");
        members.extend(only);
    }
    if let Some(value) = members.remove("const") {
        members.insert("enum".to_owned(), json!([value]));
    }
    if members.get("propertyNames") == Some(&json!({"type": "string"})) {
        members.remove("propertyNames");
    }
    let types = match members.get("type") {
        Some(Value::String(name)) => vec![Value::from(name.clone())],
        Some(Value::Array(names)) => names.clone(),
        _ => Vec::new(),
    };
    let mut common = Map::new();
    if types.is_empty() {
        common.insert("null".to_owned(), permits_null.into());
    } else {
        members.remove("type");
        let mut names: Vec<String> = types.iter().map(|name| name.as_str().unwrap().to_owned()).collect();
        names.extend(permits_null.then(|| "null".to_owned()));
        names.sort();
        names.dedup();
        common.insert("types".to_owned(), names.into());
    }
    for (name, value) in members {
        let is_data = matches!(name.as_str(), "example" | "examples" | "default" | "enum");
        common.insert(name, if is_data { value } else { common_form(&value) });
    }
    common.into()
}

#[test]
fn the_comparison_notices_differences() {
    let document = committed_json("openapi.json");
    for (place, value) in [
        ("/paths/~1api~1auth/post/responses/429", Value::Null),
        ("/paths/~1api~1auth~1ChangePassword/post/operationId", json!("other")),
        ("/paths/~1api~1auth/delete/parameters/0/required", json!(true)),
        (
            "/components/schemas/AuthToken/properties/ExpiresAt/type",
            json!("string"),
        ),
        ("/components/schemas/CoreAuthUser/required", json!(["user"])),
        ("/components/responses/TooManyFailures/headers", json!({})),
    ] {
        let mut other = document.clone();
        *other.pointer_mut(place).unwrap() = value;
        assert_ne!(common_form(&document), common_form(&other), "{place}");
    }
}
