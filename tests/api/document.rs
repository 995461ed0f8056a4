use std::fs;

use serde_json::Value;
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::support::{Server, TestApp, UseDatabase};

fn committed() -> String {
    fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/openapi/openapi.json")).unwrap()
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
    let document: Value = serde_json::from_str(&committed()).unwrap();
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
        let expected = [
            "application/json",
            "application/json-patch+json",
            "text/json",
            "application/*+json",
        ];
        assert_eq!(types, expected, "generated clients send the first type in the list");
    }
    assert!(
        !id("apiAuthDelete").unwrap().2["security"]
            .to_string()
            .contains("ApiKeyQuery")
    );
    assert_eq!(
        id("apiAuthPost").unwrap().2["security"],
        serde_json::json!([{}]),
        "a login needs no key"
    );
    for (path, method, operation) in &operations {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let response = resolve(&document, response);
            assert!(response["description"].is_string(), "{method} {path} {status}");
            let contents = response["content"].as_object();
            let mut contents = contents.into_iter().flatten();
            assert!(
                contents.all(|(_, content)| content["example"] != Value::Null),
                "{method} {path} {status}"
            );
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

#[apply(both_databases!)]
fn every_documented_path_and_method_is_served(backend: Backend) {
    let app = TestApp::with(backend, |settings| settings.v1_login = true);
    let document: Value = serde_json::from_str(&committed()).unwrap();
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
