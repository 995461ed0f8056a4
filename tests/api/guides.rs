use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use fancy_regex::Regex;
use test_support::{Backend, Response, apply, both_databases};

use crate::dialects::AllDialects;
use crate::support::TestApp;

/// Returns the values of an attribute in a page.
fn attributes(page: &str, name: &str) -> Vec<String> {
    let attribute = Regex::new(&format!(r#" {name}="([^"]*)""#)).unwrap();
    attribute
        .captures_iter(page)
        .map(|found| found.unwrap()[1].to_owned())
        .collect()
}

fn text_of(response: &Response, media_type: &str) -> String {
    assert_eq!(response.status, 200, "{response:?}");
    let content_type = format!("{media_type}; charset=utf-8");
    assert_eq!(response.header("content-type"), Some(content_type));
    response.text()
}

fn clients(app: &TestApp) -> String {
    text_of(&app.get("/swagger/docs/clients").send(), "text/html")
}

fn contract(app: &TestApp) -> String {
    text_of(&app.get("/swagger/docs/contract").send(), "text/html")
}

/// A server with all dialects below a path.
const BASE_PATH: &str = "/Some/Where";

fn below_base_path(backend: Backend) -> AllDialects {
    AllDialects::with(backend, |settings| settings.base_path = BASE_PATH.parse().unwrap())
}

/// Returns the guides in the menu of a server below `BASE_PATH`, by their URLs.
fn guides(app: &TestApp) -> BTreeMap<String, String> {
    let folder = format!("{BASE_PATH}/swagger/docs");
    let first = text_of(&app.get(&format!("{folder}/clients")).send(), "text/html");
    let menu = first.split("<nav").nth(1).unwrap();
    let guides: BTreeMap<_, _> = attributes(menu.split("</nav>").next().unwrap(), "href")
        .into_iter()
        .map(|url| {
            let page = text_of(&app.get(&url).send(), "text/html");
            (url, page)
        })
        .collect();
    assert!(
        guides.len() > 3 && guides.keys().all(|url| url.starts_with(&folder)),
        "{menu}"
    );
    guides
}

#[apply(both_databases!)]
fn the_documents_link_to_the_guides(backend: Backend) {
    let app = below_base_path(backend);
    let guides = guides(&app);
    for (path, links) in [
        ("v3/swagger.json", 3),
        ("v3/openapi-3.1.json", 3),
        ("zulip/swagger.json", 1),
        ("zettelstore/swagger.json", 1),
    ] {
        let document = app.get(&format!("{BASE_PATH}/swagger/{path}")).send().json();
        let tags = document["tags"].as_array().unwrap();
        let urls = tags
            .iter()
            .chain([&document])
            .filter_map(|part| part["externalDocs"]["url"].as_str());
        let urls: Vec<_> = urls.filter(|url| !url.starts_with("https://")).collect();
        assert_eq!(urls.len(), links, "{path}: {urls:?}");
        for url in urls {
            let (guide, fragment) = url.split_once('#').unwrap_or((url, "title"));
            let page = guides.get(guide).unwrap_or_else(|| panic!("{url} is no guide"));
            assert!(attributes(page, "id").contains(&fragment.to_owned()), "{url}");
        }
    }
}

#[apply(both_databases!)]
fn each_link_of_a_guide_leads_somewhere(backend: Backend) {
    let app = below_base_path(backend);
    let guides = guides(&app);
    for (url, page) in &guides {
        for link in attributes(page, "href") {
            if link.starts_with("https://") || link == "data:," {
                continue;
            }
            let (path, fragment) = link.split_once('#').unwrap_or((&link, ""));
            let target = if path.is_empty() { Some(page) } else { guides.get(path) };
            let leads_somewhere = match target {
                Some(target) => fragment.is_empty() || attributes(target, "id").contains(&fragment.to_owned()),
                None => path.starts_with(BASE_PATH) && app.get(path).send().status < 400,
            };
            assert!(leads_somewhere, "{url} links to {link}");
        }
    }
}

#[apply(both_databases!)]
fn each_guide_has_one_title(backend: Backend) {
    for (url, page) in guides(&below_base_path(backend)) {
        assert_eq!(page.matches("<h1").count(), 1, "{url}");
    }
}

#[apply(both_databases!)]
fn the_ids_in_a_guide_are_unique(backend: Backend) {
    for (url, page) in guides(&below_base_path(backend)) {
        let ids = attributes(&page, "id");
        assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), ids.len(), "{url}: {ids:?}");
    }
}

#[apply(both_databases!)]
fn a_guide_shows_the_text_of_its_document(backend: Backend) {
    let clients = clients(&TestApp::on(backend));
    for part in [
        "<title>Clients – shoko-auth</title>",
        r##"<li><a href="#examples">Examples</a></li>"##,
        r#"<h2 id="examples">Examples</h2>"#,
        "<th>Language</th>",
        "<td>429</td>",
        "openapi-generator-cli generate -i openapi/openapi.json -g go -o sdk",
        r#"<a href="/swagger/docs/security#guessing-passwords">"#,
        r#"<a href="/swagger/docs/examples/log_in.py">log_in.py</a>"#,
        r#"<a href="/swagger/v3/openapi-3.1.json">openapi.json</a>"#,
        "see testing.md;",
    ] {
        assert!(clients.contains(part), "{part} is missing");
    }
}

#[apply(both_databases!)]
fn guides_link_only_to_the_documents_of_enabled_dialects(backend: Backend) {
    let link = r#"<a href="/swagger/zulip/swagger.json">"#;
    assert!(contract(&AllDialects::on(backend)).contains(link));
    assert!(!contract(&TestApp::on(backend)).contains(link));
}

#[apply(both_databases!)]
fn examples_are_served_as_they_are_in_the_repository(backend: Backend) {
    let app = TestApp::on(backend);
    let mut urls = attributes(&clients(&app), "href");
    urls.retain(|url| url.contains("/examples/"));
    assert_eq!(urls.len(), 6, "{urls:?}");
    for url in urls {
        let example = url.strip_prefix("/swagger/docs/").unwrap();
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(example);
        let served = text_of(&app.get(&url).send(), "text/plain");
        assert!(served == fs::read_to_string(file).unwrap(), "{url}");
    }
}

#[apply(both_databases!)]
fn the_folder_of_the_guides_redirects_to_the_first_one(backend: Backend) {
    let app = TestApp::on(backend);
    for path in ["/swagger/docs", "/swagger/docs/"] {
        let response = app.get(path).send();
        let target = response.header("location");
        assert_eq!(
            (response.status, target.as_deref()),
            (302, Some("/swagger/docs/clients")),
            "{path}"
        );
    }
}

#[apply(both_databases!)]
fn guides_and_their_files_respond_to_head(backend: Backend) {
    let app = TestApp::on(backend);
    for file in ["clients", "clients/", "style.css", "examples/LogIn.cs"] {
        let response = app.request("HEAD", &format!("/swagger/docs/{file}")).send();
        assert_eq!(response.status, 200, "{file}");
    }
}

#[apply(both_databases!)]
fn there_are_no_other_files_beside_the_guides(backend: Backend) {
    let app = TestApp::on(backend);
    for path in [
        "clients.md",
        "clients/style.css",
        "../docs",
        "..%2Fv3%2Fswagger.json",
        "examples",
        "operations",
    ] {
        app.get(&format!("/swagger/docs/{path}")).send().problem(404);
    }
}

#[apply(both_databases!)]
fn an_encoded_slash_below_swagger_is_404(backend: Backend) {
    let app = TestApp::on(backend);
    for path in ["docs%2fclients", "docs/clients%2F", "v3%2Fswagger.json"] {
        app.get(&format!("/swagger/{path}")).send().problem(404);
    }
}

#[apply(both_databases!)]
fn without_swagger_ui_guides_are_served_and_do_not_link_to_it(backend: Backend) {
    let link = r#"<a href="/swagger/">API</a>"#;
    assert!(clients(&TestApp::on(backend)).contains(link));
    let without_ui = TestApp::with(backend, |settings| settings.swagger_ui = false);
    assert!(!clients(&without_ui).contains(link));
}

#[apply(both_databases!)]
fn guides_may_load_only_styles(backend: Backend) {
    let response = TestApp::on(backend).get("/swagger/docs/clients").send();
    let policy = "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    assert_eq!(response.header("content-security-policy").as_deref(), Some(policy));
}
