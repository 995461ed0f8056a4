//! Completes the operations of Shoko's document. Handlers then document only what is specific to them.

use serde_json::{Map, Value, json};

/// Completes each operation with its id, its security and its problems.
pub fn complete_operations(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (path, methods) in paths {
        let is_account = path.starts_with("/api/account/");
        for (method, operation) in methods.as_object_mut().into_iter().flatten() {
            operation["operationId"] = operation_id(path, method).into();
            let has_body = operation.get("requestBody").is_some();
            let security = operation["security"].as_array();
            let is_public = security.is_some_and(|security| security.is_empty() || security.contains(&json!({})));
            if operation["security"].is_null() {
                let second = if is_account { "Session" } else { "ApiKeyQuery" };
                operation["security"] = json!([{"ApiKey": []}, {second: []}, {"Bearer": []}]);
            }
            let problems = [
                ("400", "BadRequest", has_body),
                ("401", "Unauthorized", !is_public),
                ("413", "TooLarge", has_body),
                ("415", "UnsupportedType", has_body),
                ("500", "InternalError", true),
                ("503", "Unavailable", true),
            ];
            add_problems(&mut operation["responses"], problems);
        }
    }
}

/// Rewrites what utoipa describes in a form that confuses generators of clients. An operation without authentication has
/// an empty list of security schemes, not an optional one. An optional body is one that may be absent; the server also
/// accepts `null`, but some generators write wrong code for such a body.
pub fn simplify_operations(document: &mut Value) {
    let paths = document["paths"].as_object_mut().into_iter().flatten();
    for (_, methods) in paths {
        for (_, operation) in methods.as_object_mut().into_iter().flatten() {
            if operation["security"] == json!([{}]) {
                operation["security"] = json!([]);
            }
            let body = operation.get_mut("requestBody").and_then(Value::as_object_mut);
            for (_, content) in body
                .into_iter()
                .filter_map(|body| body["content"].as_object_mut())
                .flatten()
            {
                remove_null(&mut content["schema"]);
            }
        }
    }
}

fn remove_null(schema: &mut Value) {
    for keyword in ["type", "oneOf"] {
        let choices = schema[keyword].as_array().into_iter().flatten();
        let others: Vec<_> = choices
            .filter(|choice| **choice != "null" && choice["type"] != "null")
            .collect();
        if let [only] = others.as_slice() {
            let only = (*only).clone();
            match keyword {
                "type" => schema["type"] = only,
                _ => *schema = only,
            }
        }
    }
}

/// Returns the id of an operation: `apiV3UserByUserIDGet` for `GET /api/v3/User/{userID}`. Client generators name their
/// methods after it.
fn operation_id(path: &str, method: &str) -> String {
    let capitalized = |word: &str| {
        let (first, rest) = word.split_at(1);
        first.to_ascii_uppercase() + rest
    };
    let segments = path.split('/').filter(|segment| !segment.is_empty()).enumerate();
    let words = segments.map(|(position, segment)| match segment.trim_matches(['{', '}']) {
        first if position == 0 => first.to_owned(),
        name if name.len() == segment.len() => capitalized(name),
        parameter => format!("By{}", capitalized(parameter)),
    });
    words.collect::<String>() + &capitalized(method)
}

/// Adds references to the problems that apply.
fn add_problems(responses: &mut Value, problems: [(&str, &str, bool); 6]) {
    let Value::Object(responses) = responses else { return };
    for (status, name, applies) in problems {
        if applies {
            let reference = json!({"$ref": format!("#/components/responses/{name}")});
            responses.entry(status).or_insert(reference);
        }
    }
    responses.sort_keys();
}

/// Marks all documented headers as required, which utoipa cannot express.
pub fn require_headers(document: &mut Value) {
    let Value::Object(members) = document else { return };
    for (name, value) in members {
        let headers = value.as_object_mut().into_iter().filter(|_| name == "headers");
        for header in headers.flat_map(Map::values_mut).filter_map(Value::as_object_mut) {
            header.insert("required".to_owned(), true.into());
        }
        require_headers(value);
    }
}
