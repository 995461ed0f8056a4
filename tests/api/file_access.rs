use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Output;

use test_support::database::SEALING_SECRET;
use test_support::process::ServerProcess;
use test_support::{Backend, TestDatabase};

use crate::support::{UseDatabase, program};

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Runs `user list` with this data folder.
fn list(data: &Path) -> Output {
    let mut command = program(&["user", "list"]);
    command.env("SHOKO_AUTH_DATA_DIR", data).output().unwrap()
}

#[track_caller]
fn assert_rejected(output: &Output, path: &Path, advice: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    let path = path.display().to_string();
    assert!(
        output.status.code() == Some(1) && error.contains(&path) && error.contains(advice),
        "{path}: {error}"
    );
}

#[track_caller]
fn assert_warned(output: &Output, path: &Path, advice: &str) {
    let log = String::from_utf8_lossy(&output.stderr);
    let has_warning = log
        .lines()
        .any(|line| line.contains("WARN") && line.contains(&path.display().to_string()) && line.contains(advice));
    assert!(output.status.success() && has_warning, "{log}");
}

#[test]
fn files_that_every_user_can_change_are_rejected() {
    let data = tempfile::tempdir().unwrap();
    assert!(list(data.path()).status.success());
    for name in ["shoko-auth.db", "shoko-auth.db-wal", "shoko-auth.db-shm", "secret.key"] {
        let file = data.path().join(name);
        let is_new = !file.exists();
        if is_new {
            fs::write(&file, "").unwrap();
        }
        set_mode(&file, 0o602);
        assert_rejected(&list(data.path()), &file, "chmod o-w");
        set_mode(&file, 0o600);
        if is_new {
            fs::remove_file(&file).unwrap();
        }
    }
    let output = list(data.path());
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn files_of_another_user_are_rejected_unless_a_group_gives_access() {
    let data = tempfile::tempdir().unwrap();
    assert!(list(data.path()).status.success());
    let own_gid = rustix::process::getegid().as_raw();
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can give files away: not tested");
        return;
    }
    for name in ["shoko-auth.db", "secret.key"] {
        let file = data.path().join(name);
        set_mode(&file, 0o660);
        chown(&file, Some(4321), Some(4321)).unwrap();
        assert_rejected(&list(data.path()), &file, "uid 4321");
        chown(&file, Some(4321), Some(own_gid)).unwrap();
        let output = list(data.path());
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        chown(&file, Some(0), Some(4321)).unwrap();
        assert!(list(data.path()).status.success(), "root's files are accepted");
    }
}

#[test]
fn files_behind_a_symbolic_link_are_checked() {
    let data = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(list(data.path()).status.success());
    for name in ["shoko-auth.db", "secret.key"] {
        let (link, file) = (data.path().join(name), elsewhere.path().join(name));
        fs::rename(&link, &file).unwrap();
        symlink(&file, &link).unwrap();
        set_mode(&file, 0o606);
        assert_rejected(&list(data.path()), &link, "chmod o-w");
        set_mode(&file, 0o600);
    }
    set_mode(elsewhere.path(), 0o777);
    assert_warned(
        &list(data.path()),
        &elsewhere.path().canonicalize().unwrap(),
        "chmod o-w",
    );
}

#[test]
fn a_server_starts_in_a_folder_that_every_user_can_change() {
    let database = TestDatabase::create(Backend::Sqlite);
    set_mode(database.folder.path(), 0o777);
    let mut server = ServerProcess::start(database.program(&["serve"]));
    server.signal("TERM");
    let (_, log) = server.wait_until_exit();
    let folder = database.folder.path().display().to_string();
    assert!(log.contains(&folder) && log.contains("chmod o-w"), "{log}");
}

#[test]
fn files_that_every_user_can_read_cause_a_warning() {
    let data = tempfile::tempdir().unwrap();
    assert!(list(data.path()).status.success());
    for name in ["shoko-auth.db", "secret.key"] {
        let file = data.path().join(name);
        set_mode(&file, 0o644);
        assert_warned(&list(data.path()), &file, "chmod o=");
        // SQLite may have left a write-ahead log with the mode of the database.
        for entry in fs::read_dir(data.path()).unwrap() {
            set_mode(&entry.unwrap().path(), 0o640);
        }
        let output = list(data.path());
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    }
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn with_postgresql_the_secret_file_and_its_folder_are_checked() {
    let database = TestDatabase::create(Backend::Postgres);
    let folder = tempfile::tempdir().unwrap();
    let secret = folder.path().join("secret");
    fs::write(&secret, SEALING_SECRET).unwrap();
    let run = || {
        let mut command = database.program(&["user", "list"]);
        command.env_remove("SHOKO_AUTH_SECRET_KEY");
        command.env("SHOKO_AUTH_SECRET_KEY_FILE", &secret).output().unwrap()
    };
    set_mode(&secret, 0o602);
    assert_rejected(&run(), &secret, "chmod o-w");
    set_mode(&secret, 0o600);
    set_mode(folder.path(), 0o777);
    assert_warned(&run(), folder.path(), "chmod o-w");
    set_mode(folder.path(), 0o700);
    let output = run();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
