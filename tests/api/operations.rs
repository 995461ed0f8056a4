//! Runs the commands in `docs/operations.md`, and compares their output with the output shown there.

use std::env;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use test_support::process::run_with_input;
use test_support::{Backend, apply, both_databases};

use crate::support::{ADMIN, ADMIN_PASSWORD, TestApp, UseDatabase};

/// A command in a `console` block, and the output below it.
struct Example {
    command: String,
    output: Vec<String>,
}

fn examples(markdown: &str) -> Vec<Example> {
    let mut examples: Vec<Example> = Vec::new();
    for block in markdown.split("```console\n").skip(1) {
        for line in block.split("```").next().unwrap_or_default().lines() {
            if let Some(command) = line.strip_prefix("$ ") {
                examples.push(Example {
                    command: command.to_owned(),
                    output: Vec::new(),
                });
            } else {
                let example = examples.last_mut().expect("a block begins with a command");
                example.output.push(line.to_owned());
            }
        }
    }
    examples
}

/// Returns whether the lines match. In `wanted`, `…` stands for any text. On a line of its own, it stands for any
/// number of lines.
fn matches(wanted: &[String], found: &[String]) -> bool {
    let Some((first, rest)) = wanted.split_first() else {
        return found.is_empty();
    };
    if first == "…" {
        return (0..=found.len()).any(|skipped| matches(rest, &found[skipped..]));
    }
    let pattern = format!("^{}$", fancy_regex::escape(first).replace('…', ".*"));
    let line_matches = |line: &String| fancy_regex::Regex::new(&pattern).unwrap().is_match(line).unwrap();
    found.first().is_some_and(line_matches) && matches(rest, &found[1..])
}

#[apply(both_databases!)]
fn the_commands_on_the_operations_page_print_the_output_shown_there(backend: Backend) {
    let app = TestApp::on(backend);
    for device in ["kodi", "web-ui"] {
        app.key(ADMIN, ADMIN_PASSWORD, device);
    }
    let programs = app.database.folder.path().join("bin");
    fs::create_dir(&programs).unwrap();
    symlink(env!("CARGO_BIN_EXE_shoko-auth"), programs.join("shoko-auth")).unwrap();
    let path = format!("{}:{}", programs.display(), env::var("PATH").unwrap());
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operations.md")).unwrap();
    let examples = examples(&page);
    assert!(examples.len() > 15);
    for Example { command, output } in examples {
        let mut shell = app.database.command("sh", &["-c", &command]);
        shell.env("PATH", &path).env("SHOKO_AUTH_LISTEN", app.address());
        let printed = run_with_input(&mut shell, "");
        let printed = [printed.stdout, printed.stderr].concat();
        let lines = String::from_utf8(printed).unwrap();
        let lines: Vec<String> = lines.lines().map(|line| line.trim_end().to_owned()).collect();
        assert!(
            matches(&output, &lines),
            "$ {command}\n{}\ninstead of\n{}",
            lines.join("\n"),
            output.join("\n")
        );
    }
}
