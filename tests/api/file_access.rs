use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Output};

use test_support::database::SEALING_SECRET;
use test_support::process::ServerProcess;
use test_support::{Backend, TestDatabase};

use crate::support::{PROGRAM, UseDatabase, program};

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

/// Creates a pipe that no program has open.
fn create_pipe(path: &Path) {
    let created = Command::new("mkfifo").args(["-m", "600"]).arg(path).status().unwrap();
    assert!(created.success());
}

/// Runs a command that must not wait for the other end of a pipe. `timeout` ends it with the code 124 if it does.
fn in_time(program: &mut Command) -> Output {
    let mut command = Command::new("timeout");
    command.arg("30").arg(program.get_program()).args(program.get_args());
    for (name, value) in program.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command.output().unwrap()
}

#[test]
fn files_that_are_not_regular_are_rejected_before_they_are_opened() {
    for name in [
        "shoko-auth.db",
        "shoko-auth.db-wal",
        "shoko-auth.db-shm",
        "shoko-auth.db-journal",
        "secret.key",
    ] {
        let data = tempfile::tempdir().unwrap();
        let file = data.path().join(name);
        let run = || in_time(program(&["user", "list"]).env("SHOKO_AUTH_DATA_DIR", data.path()));
        create_pipe(&file);
        assert_rejected(&run(), &file, "a pipe, not a regular file");
        if rustix::process::geteuid().is_root() {
            chown(&file, Some(4321), Some(4321)).unwrap();
            assert_rejected(&run(), &file, "a pipe, not a regular file");
        }
        fs::remove_file(&file).unwrap();
        symlink("/dev/null", &file).unwrap();
        assert_rejected(&run(), &file, "a device or a socket");
        fs::remove_file(&file).unwrap();
        fs::create_dir(&file).unwrap();
        assert_rejected(&run(), &file, "a directory");
    }
}

#[test]
fn files_named_by_settings_may_be_pipes_only_of_this_user() {
    let database = TestDatabase::create(Backend::Sqlite);
    let (pipe, secret) = (
        database.folder.path().join("pipe"),
        database.folder.path().join("secret"),
    );
    create_pipe(&pipe);
    fs::write(&secret, SEALING_SECRET).unwrap();
    let script = |pipe: &str| format!("SHOKO_AUTH_SECRET_KEY_FILE={pipe} {PROGRAM} user list");
    let through_shell = |script: &str| {
        let mut command = database.command("bash", &["-c", script]);
        in_time(command.env_remove("SHOKO_AUTH_SECRET_KEY"))
    };
    let pipes = [
        script(&format!("<(cat {})", secret.display())),
        format!("cat {} | {}", secret.display(), script("/dev/stdin")),
        format!(
            "cat {} > {} & {}",
            secret.display(),
            pipe.display(),
            script(&pipe.display().to_string())
        ),
    ];
    for script in pipes {
        let output = through_shell(&script);
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{script}: {output:?}"
        );
    }
    for name in ["SHOKO_AUTH_SECRET_KEY", "SHOKO_AUTH_ADMIN_PASSWORD", "DATABASE_URL"] {
        let run = |file: &Path| {
            let mut command = database.program(&["serve"]);
            command.env_remove(name).env(format!("{name}_FILE"), file);
            in_time(&mut command)
        };
        let output = run(Path::new("/dev/zero"));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(2) && error.contains("a device or a socket"),
            "{name}: {error}"
        );
        if rustix::process::geteuid().is_root() {
            chown(&pipe, Some(4321), Some(0)).unwrap();
            let output = run(&pipe);
            let error = String::from_utf8_lossy(&output.stderr);
            assert!(
                output.status.code() == Some(2) && error.contains("uid 4321"),
                "{name}: {error}"
            );
        }
    }
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
