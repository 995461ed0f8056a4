use std::fs;
use std::path::{Path, PathBuf};

use test_support::process::ServerProcess;
use test_support::wait::wait_until;
use test_support::{Backend, TestDatabase};

use crate::support::{ADMIN, ADMIN_PASSWORD, DEVICE, UseDatabase, program};

fn start(database: &TestDatabase) -> ServerProcess {
    let mut command = database.program(&["serve"]);
    command
        .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
        // With fewer rounds, the log contains a warning.
        .env("SHOKO_AUTH_PBKDF2_ROUNDS", "100000");
    ServerProcess::start(command)
}

fn file(database: &TestDatabase) -> PathBuf {
    database.folder.path().join("test.db")
}

/// Copies only the file of the database, and returns the key list of the copy.
fn keys_in_copy(database: &TestDatabase) -> String {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(file(database), folder.path().join("shoko-auth.db")).unwrap();
    let mut command = program(&["key", "list"]);
    let output = command.env("SHOKO_AUTH_DATA_DIR", folder.path()).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

fn has_log(file: &Path) -> bool {
    ["-wal", "-shm"]
        .iter()
        .any(|suffix| PathBuf::from(format!("{}{suffix}", file.display())).exists())
}

#[test]
fn after_a_stop_the_database_file_contains_everything() {
    let database = TestDatabase::create(Backend::Sqlite);
    for number in 0..5 {
        let mut server = start(&database);
        let device = format!("device {number}");
        let key = server.key(ADMIN, ADMIN_PASSWORD, &device);
        assert!(server.accepts(&key), "the lookup thread and the feed are running");
        server.signal("TERM");
        let (status, log) = server.wait_until_exit();
        assert_eq!(status.code(), Some(0), "{log}");
        assert!(!log.contains(" WARN "), "{log}");
        assert!(!has_log(&file(&database)), "no write-ahead log is left");
        assert!(keys_in_copy(&database).contains(&device));
    }
}

#[test]
fn a_running_server_copies_changes_into_the_database_file() {
    let database = TestDatabase::create(Backend::Sqlite);
    let killed = start(&database);
    killed.key(ADMIN, ADMIN_PASSWORD, DEVICE);
    drop(killed);
    assert!(!keys_in_copy(&database).contains(DEVICE), "the key is only in the log");
    let _server = start(&database);
    wait_until("the file contains the key", || keys_in_copy(&database).contains(DEVICE));
}

#[test]
fn a_stop_does_not_wait_for_other_programs_that_use_the_database() {
    let database = TestDatabase::create(Backend::Sqlite);
    let (mut stopped, other) = (start(&database), start(&database));
    let key = stopped.key(ADMIN, ADMIN_PASSWORD, DEVICE);
    stopped.signal("TERM");
    let (status, log) = stopped.wait_until_exit();
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains(" WARN "), "{log}");
    assert!(keys_in_copy(&database).contains(DEVICE));
    assert!(other.accepts(&key));
}
