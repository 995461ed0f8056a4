//! Holds the OpenAPI document to the cases in `tests/contract/`, which `cases.rs` holds the server to.

use std::fs;

use serde_json::Value;

fn read(path: &str) -> Value {
    let path = format!("{}/{path}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn each_status_in_a_case_is_documented() {
    let document = read("openapi/openapi.json");
    let (mut checked, mut missing) = (0, Vec::new());
    for name in ["shoko", "account", "gateway"] {
        let file = read(&format!("tests/contract/cases-{name}.json"));
        for case in file["cases"].as_array().unwrap() {
            for step in steps(case) {
                let (request, status) = (&step["request"], step["expect"]["status"].to_string());
                let Some(operation) = find(&document, request) else {
                    continue;
                };
                checked += 1;
                if !operation["responses"][&status].is_object() {
                    missing.push(format!(
                        "{} {} {} {status}",
                        case["id"], request["method"], request["path"]
                    ));
                }
            }
        }
    }
    assert!(
        checked > 100,
        "only {checked} requests are those of a documented operation"
    );
    assert!(missing.is_empty(), "not documented:\n{}", missing.join("\n"));
}

/// Returns the requests of a case that expect a single status.
fn steps(case: &Value) -> Vec<&Value> {
    let list = |name: &str| case[name].as_array().into_iter().flatten();
    let all = list("before").chain([case]).chain(list("then"));
    all.filter(|step| step["expect"]["status"].is_u64()).collect()
}

/// Returns the operation that describes a request. If several paths match, the one with the fewest parameters does.
fn find<'a>(document: &'a Value, request: &Value) -> Option<&'a Value> {
    let method = request["method"].as_str()?.to_lowercase();
    let path = request["path"].as_str()?.split('?').next()?.trim_end_matches('/');
    let sent: Vec<&str> = path.split('/').collect();
    let is_parameter = |segment: &str| segment.starts_with('{');
    let matches = |template: &str| {
        let template: Vec<&str> = template.split('/').collect();
        template.len() == sent.len()
            && template
                .iter()
                .zip(&sent)
                .all(|(expected, sent)| is_parameter(expected) || expected.eq_ignore_ascii_case(sent))
    };
    let paths = document["paths"].as_object()?.iter();
    let found = paths.filter(|(template, methods)| methods[&method].is_object() && matches(template));
    let (_, methods) = found.min_by_key(|(template, _)| template.matches('{').count())?;
    Some(&methods[&method])
}
