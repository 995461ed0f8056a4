//! Keeps the arrows of the map in `src/lib.rs`.

use std::fs;
use std::path::{Path, PathBuf};

/// A module may use what stands before its own row, and its own row's neighbours only where they share a name.
const LAYERS: &[&[&str]] = &[
    &["model", "error", "settings"],
    &["secret"],
    &["store"],
    &["auth"],
    &["web"],
    &["dialects"],
    &["openapi"],
    &["server"],
    &["cli"],
    &["main"],
];

/// Who may know what: a text of the source, and the modules where it may stand.
const ONLY_IN: &[(&str, &[&str])] = &[
    ("diesel", &["store/"]),
    (
        "actix_web",
        &["web/", "dialects/", "openapi.rs", "server.rs", "cli/serve.rs"],
    ),
    ("std::env", &["cli/", "main.rs"]),
    ("env::var", &["cli/", "main.rs"]),
    ("clap", &["cli/", "main.rs"]),
];

struct Source {
    path: String,
    /// Without comments and tests.
    code: String,
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path: PathBuf = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") && !path.to_string_lossy().ends_with("_tests.rs") {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
                let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
                sources.push(Source {
                    path: path.strip_prefix(&root).unwrap().to_string_lossy().into_owned(),
                    code: lines.collect::<Vec<_>>().join("\n"),
                });
            }
        }
    }
    assert!(sources.len() > 20, "the sources are not where they were");
    sources
}

/// The row of the layer that a module, named by the first word of its path, is in.
fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|row| row.contains(&module))
}

fn module_of(path: &str) -> &str {
    path.split(['/', '.']).next().unwrap_or_default()
}

#[test]
fn a_module_uses_only_what_stands_to_its_left() {
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        let module = module_of(&source.path);
        let own = layer(module).unwrap_or_else(|| panic!("{} is in no layer", source.path));
        for used in source
            .code
            .split("crate::")
            .skip(1)
            .chain(source.code.split("shoko_auth::").skip(1))
        {
            let used = used
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or_default();
            let Some(other) = layer(used) else {
                panic!("{} uses crate::{used}: name the module it is from", source.path)
            };
            let same_row = other == own && (used == module || own == 0);
            assert!(other < own || same_row, "{} must not use {used}", source.path);
        }
    }
}

#[test]
fn each_library_is_known_only_where_it_belongs() {
    for source in sources().iter().filter(|source| source.path != "lib.rs") {
        for (text, places) in ONLY_IN {
            let allowed = places.iter().any(|place| source.path.starts_with(place));
            assert!(
                allowed || !source.code.contains(text),
                "{} must not know {text}",
                source.path
            );
        }
    }
}

#[test]
fn no_dialect_uses_another() {
    let sources = sources();
    let dialects: Vec<&Source> = sources
        .iter()
        .filter(|source| source.path.starts_with("dialects/"))
        .collect();
    for source in dialects.iter().filter(|source| source.path != "dialects/mod.rs") {
        assert!(!source.code.contains("crate::dialects"), "{}", source.path);
        assert!(!source.code.contains("super::super"), "{}", source.path);
    }
}

#[test]
fn no_file_is_longer_than_400_lines() {
    for source in sources() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(&source.path);
        let lines = fs::read_to_string(path).unwrap().lines().count();
        assert!(lines <= 400, "{} has {lines} lines", source.path);
    }
}
