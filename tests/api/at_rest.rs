use std::fs;
use test_support::database::SEALING_SECRET;
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::support::{ADMIN_PASSWORD, TestApp};

/// Returns the content of the database: SQLite's files, or all rows of the PostgreSQL tables `users` and `api_keys`.
fn everything(database: &TestDatabase) -> Vec<u8> {
    match database.backend {
        Backend::Sqlite => {
            let files = fs::read_dir(database.folder.path())
                .unwrap()
                .map(|entry| entry.unwrap().path());
            let files: Vec<_> = files
                .filter(|path| path.to_string_lossy().contains("test.db"))
                .collect();
            assert!(files.len() >= 2, "the write-ahead log is missing: {files:?}");
            files.into_iter().flat_map(|path| fs::read(path).unwrap()).collect()
        }
        Backend::Postgres => ["users", "api_keys"]
            .into_iter()
            .flat_map(|table| database.texts(&format!("SELECT t::text AS text FROM {table} t")))
            .flat_map(String::into_bytes)
            .collect(),
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn hex_digit(value: u8) -> char {
    char::from_digit(value.into(), 16).unwrap()
}

#[apply(both_databases!)]
fn the_database_contains_no_key_password_or_secret(backend: Backend) {
    let app = TestApp::on(backend);
    let key = app.admin_key();
    let kept = everything(&app.database);
    assert!(
        contains(&kept, b"$pbkdf2-sha256$") && contains(&kept, b"web-ui"),
        "the test must read the stored data"
    );
    let id = uuid::Uuid::parse_str(&key).unwrap();
    let (plain, upper) = (key.replace('-', ""), key.to_uppercase());
    let secret = base64::Engine::decode(&base64::engine::general_purpose::STANDARD, SEALING_SECRET).unwrap();
    let hex: String = secret
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(hex_digit)
        .collect();
    let texts = [
        &key,
        &plain,
        &upper,
        &upper.replace('-', ""),
        ADMIN_PASSWORD,
        SEALING_SECRET,
        &hex,
    ];
    for text in texts {
        assert!(!contains(&kept, text.as_bytes()));
    }
    assert!(!contains(&kept, id.as_bytes()) && !contains(&kept, &secret));
}
