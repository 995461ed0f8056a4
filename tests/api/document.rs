use std::collections::BTreeSet;
use std::fs;

use serde_json::{Value, json};
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::support::{Server, TestApp, UseDatabase};

fn committed(file: &str) -> Value {
    let text = fs::read_to_string(format!("{}/openapi/{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// Returns every operation: its path, its method and the object that describes it.
fn operations(document: &Value) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let all = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().unwrap().iter();
        methods.map(move |(method, operation)| (path.clone(), method.to_uppercase(), operation.clone()))
    });
    all.collect()
}

#[test]
fn the_document_contains_everything_that_a_code_generator_needs() {
    let document = committed("openapi.json");
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], "/");
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(
        (&schemes["ApiKey"]["in"], &schemes["ApiKey"]["name"]),
        (&"header".into(), &"apikey".into())
    );
    assert_eq!(
        (&schemes["ApiKeyQuery"]["in"], &schemes["ApiKeyQuery"]["name"]),
        (&"query".into(), &"apikey".into())
    );
    assert_eq!(schemes["Bearer"]["scheme"], "bearer");
    for schema in ["CoreAuthUser", "MvcProblemDetails"] {
        assert!(document["components"]["schemas"][schema].is_object(), "{schema}");
    }
    let operations = operations(&document);
    let id = |id: &str| operations.iter().find(|(.., operation)| operation["operationId"] == id);
    for name in ["apiAuthPost", "apiAuthDelete", "apiAuthChangePasswordPost"] {
        let (.., operation) = id(name).unwrap_or_else(|| panic!("there is no operation {name}"));
        assert_eq!(operation["tags"][0], "Auth");
        let types: Vec<&String> = operation["requestBody"]["content"]
            .as_object()
            .unwrap()
            .keys()
            .collect();
        assert_eq!(
            types,
            ["application/json"],
            "generators would write a method for each type"
        );
    }
    assert!(
        !id("apiAuthDelete").unwrap().2["security"]
            .to_string()
            .contains("ApiKeyQuery")
    );
    assert_eq!(
        id("apiAuthPost").unwrap().2["security"],
        json!([]),
        "a login needs no key"
    );
    for (path, method, operation) in &operations {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolve(&document, response);
            assert!(response["description"].is_string(), "{method} {path} {status}");
            for (media_type, content) in response["content"].as_object().into_iter().flatten() {
                assert!(!examples(content).is_empty(), "{method} {path} {status} {media_type}");
            }
            for (name, header) in response["headers"].as_object().into_iter().flatten() {
                assert_eq!(
                    header["required"], true,
                    "{method} {path} {status}: every response has the header {name}"
                );
            }
        }
    }
}

fn resolve<'a>(document: &'a Value, response: &'a Value) -> &'a Value {
    response["$ref"].as_str().map_or(response, |reference| {
        let found = document.pointer(reference.trim_start_matches('#'));
        found.unwrap_or_else(|| panic!("{reference} does not exist"))
    })
}

#[test]
fn every_body_and_every_item_of_a_list_has_a_simple_or_a_named_type() {
    for file in ["openapi.json", "zulip.json", "zettelstore.json"] {
        let document = committed(file);
        for (place, content) in contents(&document) {
            let schema = &content["schema"];
            assert!(is_simple_or_named(schema), "{file}: {place}: {schema}");
        }
        for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
            for (member, schema) in members(schema) {
                // The value of a JSON Patch may have any type.
                let is_open = (name.as_str(), member) == ("JsonPatchOperation", "value");
                assert!(
                    is_open || is_simple_or_named(schema),
                    "{file}: {name}: {member}: {schema}"
                );
            }
        }
    }
}

/// Returns the members of an object, also of one that is composed of several schemas.
fn members(schema: &Value) -> Vec<(&str, &Value)> {
    let own = schema["properties"].as_object().into_iter().flatten();
    let parts = schema["allOf"].as_array().into_iter().flatten();
    own.map(|(name, member)| (name.as_str(), member))
        .chain(parts.flat_map(members))
        .collect()
}

#[test]
fn every_form_has_a_named_type() {
    for file in ["openapi.json", "zulip.json", "zettelstore.json"] {
        for (place, content) in contents(&committed(file)) {
            let is_form = place.ends_with("application/x-www-form-urlencoded");
            assert!(!is_form || content["schema"]["$ref"].is_string(), "{file}: {place}");
        }
    }
}

/// Returns the content of all bodies, and for each of them its place, which ends with the media type.
fn contents(document: &Value) -> Vec<(String, Value)> {
    let mut contents = Vec::new();
    for (path, method, operation) in operations(document) {
        let responses = operation["responses"].as_object().unwrap().values();
        let responses = responses.map(|response| resolve(document, response));
        for body in responses.chain(operation.get("requestBody")) {
            for (media_type, content) in body["content"].as_object().into_iter().flatten() {
                contents.push((format!("{method} {path}: {media_type}"), content.clone()));
            }
        }
    }
    contents
}

/// Returns whether SDKs need not invent a name for the type of a schema: it is a reference, a simple type, an object
/// whose members have no fixed names, or an array of such types.
fn is_simple_or_named(schema: &Value) -> bool {
    let kinds = match &schema["type"] {
        Value::String(kind) => vec![kind.as_str()],
        kinds => kinds
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect(),
    };
    match kinds.first() {
        None => ["$ref", "allOf", "oneOf"]
            .iter()
            .any(|keyword| schema.get(keyword).is_some()),
        Some(&"array") => is_simple_or_named(&schema["items"]),
        Some(_) => schema.get("properties").is_none(),
    }
}

/// Returns the examples of a response's content.
fn examples(content: &Value) -> Vec<&Value> {
    let named = content["examples"].as_object().into_iter().flatten();
    let named = named.map(|(_, example)| &example["value"]);
    named.chain(content.get("example")).collect()
}

#[test]
fn each_operation_explains_itself() {
    for file in ["openapi.json", "zulip.json", "zettelstore.json"] {
        let document = committed(file);
        let info = &document["info"];
        for text in [&info["description"], &info["license"]["name"], &info["contact"]["name"]] {
            assert!(is_text(text), "{file}: {info}");
        }
        let docs = document["externalDocs"]["url"].as_str().expect(file);
        assert!(docs.starts_with("/swagger/docs/"), "{file}: {docs}");
        let (mut ids, mut used_tags) = (BTreeSet::new(), BTreeSet::new());
        for (path, method, operation) in operations(&document) {
            let name = format!("{method} {path}");
            let summary = operation["summary"].as_str().expect(&name);
            let is_sentence = summary.ends_with('.') && !summary.trim_end_matches('.').contains(". ");
            assert!(is_sentence && summary.len() <= 80, "{name}: {summary}");
            assert!(
                ids.insert(operation["operationId"].as_str().expect(&name).to_owned()),
                "{name}"
            );
            let [tag] = operation["tags"].as_array().expect(&name).as_slice() else {
                panic!("{name} has not one tag");
            };
            used_tags.insert(tag.as_str().unwrap().to_owned());
            let responses = operation["responses"].as_object().unwrap();
            let successes = responses.keys().filter(|status| status.starts_with('2')).count();
            assert!(
                successes > 0 && (successes == 1 || is_text(&operation["description"])),
                "{name}"
            );
            for parameter in operation["parameters"].as_array().into_iter().flatten() {
                assert!(is_text(&parameter["description"]), "{name}: {parameter}");
            }
            assert!(
                operation
                    .get("requestBody")
                    .is_none_or(|body| is_text(&body["description"])),
                "{name}: the body has no description"
            );
            for (status, response) in responses {
                assert!(is_text(&resolve(&document, response)["description"]), "{name} {status}");
            }
        }
        let tags = document["tags"].as_array().unwrap().iter();
        let described = tags.map(|tag| {
            assert!(is_text(&tag["description"]), "{file}: {tag}");
            tag["name"].as_str().unwrap().to_owned()
        });
        assert_eq!(described.collect::<BTreeSet<_>>(), used_tags, "{file}");
    }
}

fn is_text(value: &Value) -> bool {
    value.as_str().is_some_and(|text| !text.trim().is_empty())
}

#[test]
fn each_documented_error_shows_the_problem_that_is_sent() {
    let document = committed("openapi.json");
    for (path, method, operation) in operations(&document) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let name = format!("{method} {path} {status}");
            let response = resolve(&document, response);
            let code: u16 = status.parse().unwrap();
            if code < 400 {
                continue;
            }
            let types: Vec<_> = response["content"].as_object().expect(&name).keys().collect();
            assert_eq!(types, ["application/problem+json", "application/json"], "{name}");
            for content in response["content"].as_object().unwrap().values() {
                assert_eq!(
                    content["schema"]["$ref"], "#/components/schemas/MvcProblemDetails",
                    "{name}"
                );
                for problem in examples(content) {
                    assert_eq!(problem["status"], code, "{name}: {problem}");
                }
            }
            let header = match code {
                401 => "WWW-Authenticate",
                429 | 503 => "Retry-After",
                _ => continue,
            };
            assert!(response["headers"][header].is_object(), "{name} has no {header}");
        }
    }
}

#[test]
fn bodies_have_complete_schemas() {
    let document = committed("openapi.json");
    let schemas = &document["components"]["schemas"];
    let required = |schema: &str| schemas[schema]["required"].clone();
    assert_eq!(required("CreateUserBody"), json!(["Username", "Password"]));
    assert_eq!(required("JsonPatchOperation"), json!(["op", "path"]));
    let verbs = &schemas["JsonPatchOperation"]["properties"]["op"]["enum"];
    assert_eq!(*verbs, json!(["add", "remove", "replace", "test"]));
    for (path, schema) in [
        ("/paths/~1api~1v3~1User/post", "CreateUserBody"),
        ("/paths/~1api~1v3~1User~1{userID}/put", "UserBody"),
    ] {
        let content = &document.pointer(path).unwrap()["requestBody"]["content"]["application/json"];
        assert_eq!(
            content["schema"]["$ref"],
            format!("#/components/schemas/{schema}"),
            "{path}"
        );
    }
    for path in ["User~1{userID}", "User~1Current", "Settings"] {
        let patch = document.pointer(&format!("/paths/~1api~1v3~1{path}/patch")).unwrap();
        let items = &patch["requestBody"]["content"]["application/json"]["schema"]["items"];
        assert_eq!(items["$ref"], "#/components/schemas/JsonPatchOperation", "{path}");
    }
}

#[apply(both_databases!)]
fn every_documented_path_and_method_is_served(backend: Backend) {
    let app = TestApp::with(backend, |settings| settings.v1_login = true);
    let document = committed("openapi.json");
    let operations = operations(&document);
    assert!(operations.len() >= 30);
    for (path, method, operation) in operations {
        let response = app
            .request(&method, &path)
            .header("Content-Type", "application/json")
            .body("{}")
            .send();
        let status = response.status.to_string();
        assert!(status != "404" && status != "405", "{method} {path} is not served");
        assert!(
            operation["responses"][&status].is_object(),
            "{method} {path} returned the undocumented status {status}"
        );
    }
}

#[apply(both_databases!)]
fn swagger_ui_is_served_at_its_usual_paths(backend: Backend) {
    let app = TestApp::on(backend);
    for (path, target) in [("/swagger", "/swagger/"), ("/Swagger", "/swagger/")] {
        let response = app.get(path).send();
        assert_eq!(
            (response.status, response.header("location").as_deref()),
            (302, Some(target)),
            "{path}"
        );
    }
    for path in ["/swagger/", "/swagger/index.html"] {
        let response = app.get(path).send();
        assert!(
            response.status == 200 && response.text().contains("swagger-ui"),
            "{path}"
        );
        assert!(response.header("content-type").unwrap().starts_with("text/html"));
    }
    let start = app.get("/swagger/swagger-initializer.js").send();
    assert!(
        start.status == 200 && start.text().contains("v3/swagger.json"),
        "{}",
        start.text()
    );
    assert_eq!(app.request("HEAD", "/swagger/swagger-ui.css").send().status, 200);
    app.get("/swagger/nothing").send().problem(404);
}

#[apply(both_databases!)]
fn with_a_base_path_everything_is_below_it(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut settings = database.server_settings();
    settings.base_path = "/Some/Where/".parse().unwrap();
    let server = Server::start(settings);
    assert_eq!(server.get("/some/WHERE/health/ready").send().status, 200);
    server.get("/some/where/api/v3/user/current").send().problem(401);
    for (path, target) in [
        ("/some/where", "account/"),
        ("/some/where/", "account/"),
        ("/some/where/swagger", "swagger/"),
        ("/some/where/swagger/docs", "swagger/docs/clients"),
    ] {
        let location = server.get(path).send().header("location");
        assert_eq!(location, Some(format!("/Some/Where/{target}")), "{path}");
    }
    assert_eq!(server.get("/some/where/swagger/").send().status, 200);
    let document = server.get("/some/where/swagger/v3/swagger.json").send().json();
    assert_eq!(document["servers"][0]["url"], "/Some/Where/");
    for path in ["/", "/health/ready", "/api/auth", "/some/wherehealth/ready"] {
        assert_eq!(server.get(path).send().status, 404, "{path}");
    }
}
