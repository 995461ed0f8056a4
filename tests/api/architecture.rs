//! Enforces the layers that `src/lib.rs` describes, and keeps each library in the modules that need it.

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first. A module may use only modules in earlier rows. The modules of the first row may also use
/// each other.
const LAYERS: &[&[&str]] = &[
    &["clock", "model", "error", "settings"],
    &["secret", "metrics"],
    &["store"],
    &["auth"],
    &["web"],
    &["dialects", "gateway", "account"],
    &["openapi"],
    &["server"],
    &["cli"],
    &["main"],
];

/// Texts that only some source files may contain, each with the path prefixes of those files.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("diesel", &["store/", "auth/import/shoko_database.rs"]),
    (
        "actix_web::",
        &[
            "web/",
            "dialects/",
            "gateway/",
            "account/",
            "openapi/",
            "server",
            "cli/serve.rs",
        ],
    ),
    ("actix_http::", &["server"]),
    ("actix_cors::", &["web/"]),
    ("actix_files::", &["dialects/shoko/web_ui.rs"]),
    ("askama::", &["account/pages/", "openapi/guides.rs"]),
    ("pulldown_cmark::", &["openapi/markdown.rs"]),
    ("actix_server::", &["server"]),
    ("prometheus::", &["metrics/"]),
    ("thread_local::", &["metrics/"]),
    ("actix_service::", &["server"]),
    (
        "tokio::",
        &["server/", "web/caller.rs", "web/large_bodies.rs", "cli/serve.rs"],
    ),
    (
        "rustix::",
        &[
            "auth/file_access.rs",
            "auth/file_system.rs",
            "auth/hashing/",
            "clock/",
            "server",
            "cli/serve.rs",
            "store/file.rs",
        ],
    ),
    ("std::env", &["cli/", "main.rs"]),
    ("env::var", &["cli/", "main.rs"]),
    ("clap", &["cli/", "main.rs"]),
];

struct Source {
    path: String,
    /// The source without comments and tests.
    code: String,
}

/// Returns the paths of all Rust files in a folder and its subfolders.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut folders = vec![folder.to_owned()];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files
}

/// Returns the sources of the product, without the files that contain only tests.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    for path in rust_files(&root) {
        let name = path.strip_prefix(&root).unwrap().to_string_lossy().into_owned();
        if name.contains("_tests") {
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
        sources.push(Source {
            path: name,
            code: lines.collect::<Vec<_>>().join("\n"),
        });
    }
    assert!(sources.len() > 20, "most of the sources are missing");
    sources
}

impl Source {
    /// Returns the path of the module, such as `["dialects", "shoko", "auth"]`.
    fn module(&self) -> Vec<&str> {
        let path = self.path.trim_end_matches(".rs").trim_end_matches("/mod");
        path.split('/').collect()
    }

    /// Returns the paths in the code that begin with `crate::` or `super::`, each resolved from the root of the crate.
    fn used(&self) -> Vec<Vec<&str>> {
        let mut found = Vec::new();
        for (start, _) in self
            .code
            .match_indices("crate::")
            .chain(self.code.match_indices("super::"))
        {
            if self.code[..start].ends_with("::") {
                continue;
            }
            let end = self.code[start..].find(|c: char| !c.is_alphanumeric() && c != '_' && c != ':');
            let names = self.code[start..][..end.unwrap_or(self.code.len() - start)].split("::");
            let mut path = self.module();
            for name in names {
                match name {
                    "crate" => path.clear(),
                    "super" => drop(path.pop()),
                    name => path.push(name),
                }
            }
            found.push(path);
        }
        found
    }
}

/// Returns the index of the row in `LAYERS` that contains a top-level module.
fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

#[test]
fn a_module_uses_only_lower_layers() {
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        let module = source.module()[0];
        let own = layer(module).unwrap_or_else(|| panic!("{} is in no layer", source.path));
        for used in source.used() {
            let Some(other) = layer(used[0]) else {
                panic!(
                    "{} uses {used:?}: import it from the module that defines it",
                    source.path
                )
            };
            let same_row = other == own && (used[0] == module || own == 0);
            assert!(other < own || same_row, "{} must not use {used:?}", source.path);
        }
    }
}

#[test]
fn each_library_is_used_only_in_its_modules() {
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        for (text, places) in ONLY_IN {
            let allowed = places.iter().any(|place| source.path.starts_with(place));
            assert!(
                allowed || !source.code.contains(text),
                "{} must not use {text}",
                source.path
            );
        }
    }
}

#[test]
fn no_dialect_uses_another() {
    let sources = sources();
    let in_dialects = |path: &[&str]| path.len() > 1 && path[0] == "dialects";
    for source in sources.iter().filter(|source| in_dialects(&source.module())) {
        for used in source.used().into_iter().filter(|used| in_dialects(used)) {
            assert_eq!(used[1], source.module()[1], "{} must not use {used:?}", source.path);
        }
    }
}

#[test]
fn only_the_lists_of_dialects_name_a_dialect() {
    let lists = [
        "dialects/mod.rs",
        "openapi/mod.rs",
        "openapi/swagger.rs",
        "server/routes.rs",
        "settings/mod.rs",
        "settings/warnings.rs",
        "cli/settings/dialects.rs",
    ];
    let folders = [("Zulip", "dialects/zulip/"), ("Zettelstore", "dialects/zettelstore/")];
    for source in sources().iter().filter(|source| !lists.contains(&source.path.as_str())) {
        for (name, folder) in folders {
            let names = source.code.to_lowercase().contains(&name.to_lowercase());
            assert!(
                !names || source.path.starts_with(folder),
                "{} must not mention {name}",
                source.path
            );
        }
    }
}

#[test]
fn no_file_is_longer_than_400_lines() {
    for folder in ["src", "tests", "crates", "examples", "benches", "fuzz/fuzz_targets"] {
        for path in rust_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)) {
            let lines = fs::read_to_string(&path).unwrap().lines().count();
            assert!(lines <= 400, "{} has {lines} lines", path.display());
        }
    }
}
