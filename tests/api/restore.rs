//! The commands `backup` and `restore`.

use std::env;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use test_support::process::ServerProcess;
use test_support::wait::wait_until;
use test_support::{Backend, Client, TestDatabase};

use crate::support::{ADMIN, ADMIN_PASSWORD, UseDatabase};

/// A database with a folder for backups.
pub struct Site {
    pub database: TestDatabase,
    backups: tempfile::TempDir,
}

impl Site {
    pub fn new() -> Self {
        Self {
            database: TestDatabase::create(Backend::Sqlite),
            backups: tempfile::tempdir().unwrap(),
        }
    }

    fn start(&self) -> ServerProcess {
        let mut command = self.database.program(&["serve"]);
        command.env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD);
        ServerProcess::start(command)
    }

    pub fn file(&self) -> PathBuf {
        self.database.folder.path().join("test.db")
    }

    fn backup(&self, name: &str) -> PathBuf {
        self.backups.path().join(name)
    }

    pub fn back_up(&self, name: &str) -> Output {
        self.database.run(&["backup", self.backup(name).to_str().unwrap()], "")
    }

    pub fn restore(&self, name: &str, arguments: &[&str]) -> Output {
        let file = self.backup(name);
        let arguments = [&["restore", file.to_str().unwrap()], arguments].concat();
        self.database.run(&arguments, "")
    }
}

fn stop(mut server: ServerProcess) {
    server.signal("TERM");
    let (status, log) = server.wait_until_exit();
    assert_eq!(status.code(), Some(0), "{log}");
}

#[track_caller]
pub fn success(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("sealing secret is not part of the backup"), "{text}");
    text
}

#[track_caller]
fn failure(output: &Output, reason: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.code() == Some(1) && error.contains(reason),
        "{reason}: {output:?}"
    );
}

fn file_names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_backup_is_complete_and_private_and_replaces_no_file() {
    let site = Site::new();
    let server = site.start();
    let key = server.key(ADMIN, ADMIN_PASSWORD, "kodi");
    success(&site.back_up("one.db"));
    let mode = fs::metadata(site.backup("one.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(
        file_names(site.backups.path()),
        ["one.db"],
        "no temporary files are left"
    );
    let before = fs::read(site.backup("one.db")).unwrap();
    failure(&site.back_up("one.db"), "exists already");
    assert_eq!(fs::read(site.backup("one.db")).unwrap(), before);
    std::os::unix::fs::symlink("/nowhere", site.backup("link.db")).unwrap();
    failure(&site.back_up("link.db"), "exists already");
    assert!(server.accepts(&key), "the server runs on");
}

#[test]
fn a_backup_of_a_database_that_does_not_exist_fails_and_creates_nothing() {
    let site = Site::new();
    failure(&site.back_up("one.db"), "No such file");
    assert!(file_names(site.backups.path()).is_empty());
    assert!(file_names(site.database.folder.path()).is_empty());
}

#[test]
fn a_restore_brings_back_the_users_and_keys_of_the_backup_and_counts_the_revived_keys() {
    let site = Site::new();
    let server = site.start();
    let [kept, revoked] = ["kept", "revoked"].map(|device| server.key(ADMIN, ADMIN_PASSWORD, device));
    success(&site.back_up("one.db"));
    let later = server.key(ADMIN, ADMIN_PASSWORD, "later");
    assert_eq!(server.delete(&format!("/api/auth?apikey={revoked}")).send().status, 200);
    stop(server);
    let text = success(&site.restore("one.db", &[]));
    assert!(text.contains("work again: 1."), "{text}");
    let old = format!("{}.before-restore-", site.file().display());
    assert!(text.contains(&old), "{text}");
    let server = site.start();
    assert!(server.accepts(&kept) && server.accepts(&revoked) && !server.accepts(&later));
    assert_eq!(
        server.key(ADMIN, ADMIN_PASSWORD, "kept"),
        kept,
        "the sealed keys are restored"
    );
}

#[test]
fn a_restore_can_revoke_all_keys() {
    let site = Site::new();
    let server = site.start();
    let key = server.key(ADMIN, ADMIN_PASSWORD, "kodi");
    success(&site.back_up("one.db"));
    stop(server);
    let text = success(&site.restore("one.db", &["--revoke-all-keys"]));
    assert!(text.contains("all users have to log in again"), "{text}");
    let server = site.start();
    assert!(!server.accepts(&key));
    assert_ne!(server.key(ADMIN, ADMIN_PASSWORD, "kodi"), key);
}

#[test]
fn a_restore_is_refused_while_a_server_runs_even_one_without_the_lock() {
    let site = Site::new();
    let server = site.start();
    let key = server.key(ADMIN, ADMIN_PASSWORD, "kodi");
    success(&site.back_up("one.db"));
    failure(&site.restore("one.db", &[]), "uses the database");
    // A server of an older version takes no lock.
    let lock = PathBuf::from(format!("{}.lock", site.file().display()));
    assert!(lock.exists());
    fs::remove_file(&lock).unwrap();
    failure(&site.restore("one.db", &[]), "uses the database");
    assert!(server.accepts(&key));
    let names = file_names(site.database.folder.path());
    assert!(!names.iter().any(|name| name.contains("before-restore")), "{names:?}");
}

#[test]
fn commands_are_refused_during_a_restore() {
    let site = Site::new();
    stop(site.start());
    let lock = File::open(format!("{}.lock", site.file().display())).unwrap();
    lock.lock().unwrap();
    failure(&site.database.run(&["user", "list"], ""), "is being restored");
    failure(&site.back_up("one.db"), "is being restored");
    lock.unlock().unwrap();
    success(&site.back_up("one.db"));
}

#[test]
fn a_damaged_database_can_be_replaced_and_a_damaged_backup_is_rejected() {
    let site = Site::new();
    let server = site.start();
    let key = server.key(ADMIN, ADMIN_PASSWORD, "kodi");
    success(&site.back_up("one.db"));
    stop(server);
    let mut bytes = fs::read(site.backup("one.db")).unwrap();
    let half = bytes.len() / 2;
    bytes[half..].fill(0xa5);
    fs::write(site.backup("damaged.db"), &bytes).unwrap();
    fs::write(site.backup("text.db"), "not a database").unwrap();
    fs::write(site.backup("empty.db"), "").unwrap();
    fs::copy(site.backup("one.db"), site.backup("raw.db")).unwrap();
    fs::write(site.backup("raw.db-wal"), "x").unwrap();
    failure(&site.restore("damaged.db", &[]), "not an intact database");
    failure(&site.restore("text.db", &[]), "not an intact database");
    failure(&site.restore("raw.db", &[]), "-wal");
    failure(&site.restore("empty.db", &[]), "not an intact database");
    failure(&site.restore("missing.db", &[]), "No such file");
    fs::write(site.file(), "destroyed").unwrap();
    let text = success(&site.restore("one.db", &[]));
    assert!(text.contains("their number is unknown"), "{text}");
    assert!(site.start().accepts(&key));
}

#[test]
fn repeated_restores_keep_every_old_database() {
    let site = Site::new();
    stop(site.start());
    success(&site.back_up("one.db"));
    for _ in 0..3 {
        success(&site.restore("one.db", &[]));
    }
    let names = file_names(site.database.folder.path());
    let kept = names.iter().filter(|name| name.contains("test.db.before-restore-"));
    assert_eq!(kept.count(), 3, "{names:?}");
}

#[test]
fn a_restore_deletes_the_drafts_of_interrupted_ones() {
    let site = Site::new();
    stop(site.start());
    success(&site.back_up("one.db"));
    fs::write(site.database.folder.path().join(".test.db.restore-x"), "half").unwrap();
    success(&site.restore("one.db", &[]));
    let names = file_names(site.database.folder.path());
    assert!(!names.iter().any(|name| name.contains(".restore-")), "{names:?}");
}

#[test]
fn a_restore_rejects_a_pipe_and_a_lock_that_is_a_link() {
    let site = Site::new();
    stop(site.start());
    success(&site.back_up("one.db"));
    let pipe = site.backup("pipe");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600)).unwrap();
    failure(&site.restore("pipe", &[]), "a pipe");
    let lock = format!("{}.lock", site.file().display());
    fs::remove_file(&lock).unwrap();
    let elsewhere = site.backup("elsewhere");
    symlink(&elsewhere, &lock).unwrap();
    failure(&site.restore("one.db", &[]), "symbolic link");
    assert!(!elsewhere.exists());
}

#[test]
fn files_that_root_creates_belong_to_the_owner_of_the_database() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("only root can create files for another user");
        return;
    }
    let site = Site::new();
    stop(site.start());
    success(&site.back_up("one.db"));
    let lock = PathBuf::from(format!("{}.lock", site.file().display()));
    fs::remove_file(&lock).unwrap();
    for path in [site.database.folder.path(), &site.file()] {
        chown(path, Some(4321), Some(4321)).unwrap();
    }
    success(&site.restore("one.db", &[]));
    for path in [site.file(), lock] {
        assert_eq!(fs::metadata(&path).unwrap().uid(), 4321, "{}", path.display());
    }
}

#[test]
fn the_commands_name_the_programs_of_postgresql_and_fail() {
    let site = Site::new();
    for (command, program) in [("backup", "pg_dump --format=custom"), ("restore", "pg_restore")] {
        let mut command = site.database.program(&[command, "it's.dump"]);
        let output = command
            .env("DATABASE_URL", "postgres://u:hunter22@127.0.0.1:1/none")
            .output()
            .unwrap();
        failure(&output, program);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            error.contains("its own program instead") && !error.contains("hunter22"),
            "{error}"
        );
    }
}

#[test]
fn nodes_that_follow_the_restored_database_see_a_change_of_every_user() {
    let site = Site::new();
    let server = site.start();
    let key = server.key(ADMIN, ADMIN_PASSWORD, "kodi");
    success(&site.back_up("one.db"));
    assert!(server.accepts(&key));
    stop(server);
    let numbers = || {
        site.database
            .texts("SELECT CAST(max(number) AS TEXT) AS text FROM changes")
    };
    site.database
        .execute("INSERT INTO changes (user_id, number) VALUES (77, 1000)");
    success(&site.restore("one.db", &[]));
    assert_eq!(numbers(), ["1001"]);
}

/// Keys that were acknowledged, and those whose revocation has been requested.
#[derive(Default)]
struct Storm {
    is_over: AtomicBool,
    issued: Mutex<Vec<String>>,
    revoking: Mutex<Vec<String>>,
}

impl Storm {
    /// Logs in on new devices, and revokes every third key.
    fn run(&self, client: &Client, name: usize) {
        for number in 0.. {
            if self.is_over.load(Ordering::Relaxed) {
                return;
            }
            let key = client.key(ADMIN, ADMIN_PASSWORD, &format!("device {name}-{number}"));
            if number % 3 == 0 {
                self.revoking.lock().unwrap().push(key.clone());
                assert_eq!(client.delete(&format!("/api/auth?apikey={key}")).send().status, 200);
            } else {
                self.issued.lock().unwrap().push(key);
            }
        }
    }
}

/// How often the storm is repeated. `BACKUP_ROUNDS=20` is the long version.
fn rounds() -> usize {
    env::var("BACKUP_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap())
}

#[test]
fn a_backup_during_a_storm_contains_every_key_that_was_acknowledged_before() {
    for round in 0..rounds() {
        let site = Site::new();
        let mut command = site.database.program(&["serve"]);
        command
            .env("SHOKO_AUTH_ADMIN_PASSWORD", ADMIN_PASSWORD)
            .env("SHOKO_AUTH_LOGIN_THROTTLE", "off")
            .env("SHOKO_AUTH_MAX_KEYS_PER_USER", "1000000");
        let server = ServerProcess::start(command);
        let storm = Arc::new(Storm::default());
        let clients: Vec<_> = (0..4)
            .map(|name| {
                let (storm, client) = (
                    storm.clone(),
                    Client {
                        url: server.url.clone(),
                    },
                );
                thread::spawn(move || storm.run(&client, name))
            })
            .collect();
        let issued = || storm.issued.lock().unwrap().clone();
        wait_until("the storm has begun", || issued().len() >= 20 + round);
        let acknowledged = issued();
        success(&site.back_up("one.db"));
        let at_the_end = issued().len();
        storm.is_over.store(true, Ordering::Relaxed);
        for client in clients {
            client.join().unwrap();
        }
        drop(server);
        let empty = Site::new();
        fs::copy(site.backup("one.db"), empty.backup("one.db")).unwrap();
        success(&empty.restore("one.db", &[]));
        let restored = empty.start();
        for key in &acknowledged {
            assert!(restored.accepts(key), "round {round}: a key is lost");
        }
        assert!(at_the_end >= acknowledged.len());
    }
}
