//! Renders the guides, which are documents in `docs/`, as pages, and lists the example programs.

use std::sync::Arc;

use actix_web::web::Bytes;
use askama::Template;

use super::markdown::{Links, Markdown, TITLE_ID};
use crate::settings::BasePath;
use crate::web::security_headers::Page;
use crate::web::static_file::StaticFile;

/// The guides in the order of the menu, each with the name of its file in `docs/`.
const GUIDES: &[(&str, &str)] = &[
    ("clients", include_str!("../../docs/clients.md")),
    ("contract", include_str!("../../docs/contract.md")),
    ("dialects", include_str!("../../docs/dialects.md")),
    ("gateway", include_str!("../../docs/gateway.md")),
    ("security", include_str!("../../docs/security.md")),
];
/// The files in `examples/` that the guides link to.
const EXAMPLES: &[(&str, &str)] = &[
    ("LogIn.cs", include_str!("../../examples/LogIn.cs")),
    ("guard.rs", include_str!("../../examples/guard.rs")),
    ("log_in.mts", include_str!("../../examples/log_in.mts")),
    ("log_in.py", include_str!("../../examples/log_in.py")),
    ("log_in.rs", include_str!("../../examples/log_in.rs")),
    ("log_in.sh", include_str!("../../examples/log_in.sh")),
];
/// The style sheet of the pages of the account, followed by rules for guides.
const STYLE: &str = concat!(
    include_str!("../account/pages/files/style.css"),
    include_str!("guides.css")
);

/// The restrictions for guides, which need no scripts.
pub const PAGE: Page = Page::Public(
    "default-src 'none'; style-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

struct Guide {
    /// The URL without the host.
    url: String,
    markdown: Markdown<'static>,
}

#[derive(Template)]
#[template(path = "openapi/guide.html")]
struct GuidePage<'a> {
    menu: &'a [Guide],
    guide: &'a Guide,
    content: String,
    base_path: &'a BasePath,
    has_swagger_ui: bool,
}

/// Returns the URL of a guide, without the host.
pub fn guide_url(base_path: &BasePath, name: &str) -> String {
    format!("{}/swagger/docs/{name}", base_path.as_str())
}

/// Returns the guides, their style sheet and the example programs, each with its path below `/swagger/docs/`. `links`
/// maps the paths of the OpenAPI documents, relative to `docs/`, to their URLs.
pub fn files(
    base_path: &BasePath,
    mut links: Links,
    has_swagger_ui: bool,
) -> askama::Result<Vec<(String, Arc<StaticFile>)>> {
    let file = |path: &str, content_type: &str, bytes: Bytes| {
        // The request middleware converts paths to lower case.
        (path.to_lowercase(), StaticFile::new(content_type.to_owned(), bytes))
    };
    let mut files = vec![file(
        "style.css",
        "text/css; charset=utf-8",
        Bytes::from_static(STYLE.as_bytes()),
    )];
    for (name, text) in EXAMPLES {
        let path = format!("examples/{name}");
        files.push(file(
            &path,
            "text/plain; charset=utf-8",
            Bytes::from_static(text.as_bytes()),
        ));
        links.insert(format!("../{path}"), guide_url(base_path, &path));
    }
    let mut menu = Vec::new();
    for (name, text) in GUIDES {
        let url = guide_url(base_path, name);
        links.insert(format!("{name}.md"), url.clone());
        let markdown = Markdown::parse(text);
        menu.push(Guide { url, markdown });
    }
    for (guide, (name, _)) in menu.iter().zip(GUIDES) {
        let page = GuidePage {
            menu: &menu,
            guide,
            content: guide.markdown.to_html(&links),
            base_path,
            has_swagger_ui,
        };
        files.push(file(name, "text/html; charset=utf-8", page.render()?.into()));
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use pulldown_cmark::{Event, Options, Parser, Tag};

    use super::*;

    /// Returns the files that the guides link to, relative to `docs/`.
    fn linked_files() -> BTreeSet<String> {
        let target = |event: Event<'static>| match event {
            Event::Start(Tag::Link { dest_url, .. }) => Some(dest_url.split('#').next().unwrap_or_default().to_owned()),
            _ => None,
        };
        let targets = GUIDES
            .iter()
            .flat_map(|(_, text)| Parser::new_ext(text, Options::ENABLE_TABLES).filter_map(target));
        targets
            .filter(|file| !file.is_empty() && !file.starts_with("https://"))
            .collect()
    }

    #[test]
    fn guides_link_only_to_files_that_exist() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
        for file in linked_files() {
            assert!(docs.join(&file).exists(), "{file} does not exist");
        }
    }

    #[test]
    fn exactly_the_linked_examples_are_served() {
        let files = linked_files();
        let linked: BTreeSet<_> = files
            .iter()
            .filter_map(|file| file.strip_prefix("../examples/"))
            .collect();
        assert_eq!(linked, EXAMPLES.iter().map(|(name, _)| *name).collect());
    }
}
