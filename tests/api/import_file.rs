use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use test_support::process::ServerProcess;
use test_support::shoko_database::{ShokoDatabase, ShokoVersion, key, sha512};
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::import::{import, row};
use crate::start::generated_password;
use crate::support::{ADMIN, TestApp, UseDatabase};

const PASSWORD: &str = "correct horse battery";

#[apply(both_databases!)]
fn expiry_times_are_imported_from_local_time(backend: Backend) {
    let app = TestApp::on(backend);
    let mut shoko = ShokoDatabase::create(app.database.folder.path(), ShokoVersion::V6_0);
    shoko.user(1, Some("Default"), Some(&sha512(PASSWORD)), true);
    shoko.expiring_key(1, 1, "tv", &key(1), "2099-07-01 12:00:00.9194606");
    shoko.expiring_key(2, 1, "tv", &key(2), "2099-01-01T12:00:00");
    shoko.expiring_key(3, 1, "tv", &key(3), "2001-01-01 00:00:00");
    shoko.expiring_key(4, 1, "tv", &key(4), "some day");
    let file = shoko.file.to_str().unwrap();
    let failed = app
        .database
        .program(&["import", "shoko", file])
        .env("TZ", "Europe/Nowhere")
        .output()
        .unwrap();
    assert!(
        String::from_utf8(failed.stderr).unwrap().contains("set TZ"),
        "an unknown time zone is an error"
    );
    let mut command = app.database.program(&["import", "shoko", file, "--json"]);
    let report: Value =
        serde_json::from_slice(&command.env("TZ", "EST5EDT,M3.2.0,M11.1.0").output().unwrap().stdout).unwrap();
    assert!(row(&report, "AuthTokens", 3).1.contains("expired") && row(&report, "AuthTokens", 4).1.contains("parsed"));
    let list = app.get("/api/auth").header("apikey", &key(1)).send().json();
    let times: Vec<_> = list
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["ExpiresAt"].as_str().unwrap())
        .collect();
    assert_eq!(times, ["2099-01-01T17:00:00+00:00", "2099-07-01T16:00:00.919460+00:00"]);
}

#[apply(both_databases!)]
fn a_database_that_shoko_has_open_is_read_without_writing_any_file(backend: Backend) {
    let database = TestDatabase::create(backend);
    let folder = tempfile::tempdir().unwrap();
    let mut shoko = ShokoDatabase::create(folder.path(), ShokoVersion::V5_3);
    shoko.execute("PRAGMA journal_mode = WAL; PRAGMA wal_autocheckpoint = 0");
    shoko.user(1, Some("Default"), Some(&sha512(PASSWORD)), true);
    let look = || {
        let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = names.filter(|path| !path.to_string_lossy().ends_with("-shm")).collect();
        files.sort();
        files
            .into_iter()
            .map(|path| (path.clone(), fs::read(path).unwrap()))
            .collect::<Vec<_>>()
    };
    let before = look();
    assert!(
        before.len() == 2 && !before[1].1.is_empty(),
        "the user is in the write-ahead log"
    );
    assert_eq!(import(&database, &shoko, &["--dry-run"])["users"]["added"], 1);
    shoko.execute("BEGIN IMMEDIATE; UPDATE JMMUser SET Username = 'not yet'");
    assert_eq!(
        import(&database, &shoko, &["--dry-run"])["users"]["added"],
        1,
        "while Shoko writes"
    );
    shoko.execute("ROLLBACK");
    assert_eq!(look(), before);
    // Copy the database without its `-shm` file, which users easily forget to copy.
    let copy = tempfile::tempdir().unwrap();
    for (path, bytes) in &before {
        fs::write(copy.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    let file = copy.path().join("JMMServer.db3");
    let run = |file: &Path| database.run(&["import", "shoko", file.to_str().unwrap(), "--dry-run"], "");
    let printed = String::from_utf8(run(&file).stdout).unwrap();
    assert!(printed.contains("Users: 1 added"), "{printed}");
    assert_eq!(
        fs::read_dir(copy.path()).unwrap().count(),
        2,
        "the import creates no file"
    );
    let link = copy.path().join("link.db3");
    symlink(&shoko.file, &link).unwrap();
    let printed = String::from_utf8(run(&link).stdout).unwrap();
    assert!(printed.contains("Users: 1 added"), "through a link: {printed}");
    // Closing the database properly deletes the write-ahead log.
    shoko.execute("PRAGMA wal_checkpoint(TRUNCATE)");
    let file = shoko.file.clone();
    drop(shoko);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let printed = String::from_utf8(run(&file).stdout).unwrap();
    assert!(printed.contains("Users: 1 added"), "{printed}");
    assert_eq!(
        fs::read_dir(folder.path()).unwrap().count(),
        1,
        "the import creates no file"
    );
}

#[apply(both_databases!)]
fn a_file_that_is_not_a_shoko_database_is_rejected_with_the_reason(backend: Backend) {
    let database = TestDatabase::create(backend);
    let path = |name: &str| database.folder.path().join(name);
    let folder = |name: &str| {
        fs::create_dir(path(name)).unwrap();
        path(name)
    };
    fs::write(path("text"), "some text that is longer than the head of a database is").unwrap();
    fs::write(path("empty"), "").unwrap();
    let mut other = ShokoDatabase::create(database.folder.path(), ShokoVersion::V6_0);
    other.execute("DROP TABLE AuthTokens");
    assert!(Command::new("mkfifo").arg(path("pipe")).status().unwrap().success());
    symlink(path("pipe"), path("link")).unwrap();
    let wal = ShokoDatabase::create(&folder("wal"), ShokoVersion::V5_3).file;
    let pipe = format!("{}-wal", wal.display());
    assert!(Command::new("mkfifo").arg(pipe).status().unwrap().success());
    for (name, hint) in [
        ("pipe", "this is a pipe, not a regular file"),
        ("link", "this is a pipe, not a regular file"),
        (
            "wal/JMMServer.db3",
            "JMMServer.db3-wal: this is a pipe, not a regular file",
        ),
        ("nothing", "No such file"),
        ("text", "not a Shoko database"),
        ("empty", "not a Shoko database"),
        ("Shoko.db3", "not a Shoko database"),
        (".", "this is a directory, not a regular file"),
    ] {
        let output = database.run(&["import", "shoko", path(name).to_str().unwrap()], "");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1) && error.contains(hint),
            "{name}: {error}"
        );
    }
}

#[apply(both_databases!)]
fn a_database_with_unusual_tables_is_rejected_with_the_reason(backend: Backend) {
    let database = TestDatabase::create(backend);
    let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n)";
    let view = format!(
        "ALTER TABLE JMMUser RENAME TO Hidden; CREATE VIEW JMMUser AS
         {endless} SELECT i AS JMMUserID, 'a' AS Username FROM n"
    );
    let user = "INSERT INTO JMMUser (JMMUserID, Username, IsAdmin, IsAniDBUser, IsTraktUser)";
    let key = "INSERT INTO AuthTokens (UserID, DeviceName, Token)";
    for (name, sql, hint) in [
        ("view", view, r#"JMMUser is not an ordinary table; its type is "view""#),
        (
            "virtual",
            "DROP TABLE AuthTokens; CREATE VIRTUAL TABLE AuthTokens USING fts5(AuthID, UserID, Token)".to_owned(),
            r#"AuthTokens is not an ordinary table; its type is "virtual""#,
        ),
        (
            "users",
            format!("{endless} {user} SELECT i, i, 0, 0, 0 FROM n LIMIT 10001"),
            "JMMUser has more than 10000 rows",
        ),
        (
            "keys",
            format!("{endless} {key} SELECT 1, i, i FROM n LIMIT 100001"),
            "AuthTokens has more than 100000 rows",
        ),
        (
            "text",
            format!("{user} VALUES (7, CAST(zeroblob(65537) AS TEXT), 0, 0, 0)"),
            "row 7 of JMMUser has a text longer than 65536 bytes",
        ),
        (
            "id",
            "CREATE TABLE t (JMMUserID, Username); INSERT INTO t VALUES (zeroblob(1000000), 'a');
             DROP TABLE JMMUser; ALTER TABLE t RENAME TO JMMUser"
                .to_owned(),
            "JMMUser has a row whose id is not a number",
        ),
        (
            "key id",
            "CREATE TABLE t (AuthID, UserID); INSERT INTO t VALUES ('1', 1);
             DROP TABLE AuthTokens; ALTER TABLE t RENAME TO AuthTokens"
                .to_owned(),
            "AuthTokens has a row whose id is not a number",
        ),
        (
            "size",
            format!(
                "{endless} {user} SELECT i, i, 0, 0, 0 FROM n LIMIT 129;
                 UPDATE JMMUser SET AvatarImageBlob = zeroblob(2097152)"
            ),
            "JMMUser has more than 268435456 bytes",
        ),
    ] {
        let folder = database.folder.path().join(name);
        fs::create_dir(&folder).unwrap();
        let mut shoko = ShokoDatabase::create(&folder, ShokoVersion::V5_3);
        shoko.execute(&sql);
        let output = database.run(&["import", "shoko", shoko.file.to_str().unwrap()], "");
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1) && error.contains(hint) && error.contains("copy the file"),
            "{name}: {error}"
        );
        fs::remove_dir_all(&folder).unwrap();
    }
}

/// The long values begin with `1`, so they would be read as the number 1 if they were read.
#[apply(both_databases!)]
fn a_value_that_is_too_long_for_a_number_is_not_read(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut shoko = ShokoDatabase::create(database.folder.path(), ShokoVersion::V5_3);
    shoko.user(1, Some("Default"), Some(&sha512(PASSWORD)), true);
    shoko.user(2, Some("bob"), Some(&sha512(PASSWORD)), true);
    shoko.key(1, 1, "tv", &key(1));
    let long = "CAST(printf('1%100000s', '') AS BLOB)";
    shoko.execute(&format!(
        "UPDATE JMMUser SET IsAdmin = {long} WHERE JMMUserID = 2; UPDATE AuthTokens SET UserID = {long}"
    ));
    let report = import(&database, &shoko, &["--dry-run"]);
    assert_eq!(report["addedAdministrators"], json!(["Default"]));
    assert!(
        row(&report, "AuthTokens", 1).1.contains("there is no user"),
        "{report:#}"
    );
}

#[apply(both_databases!)]
fn an_avatar_that_is_too_large_is_skipped(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut shoko = ShokoDatabase::create(database.folder.path(), ShokoVersion::V5_3);
    shoko.user(1, Some("Default"), Some(&sha512(PASSWORD)), true);
    shoko.execute(
        r#"UPDATE JMMUser SET AvatarImageBlob = zeroblob(2097153), AvatarImageMetadata = '{"ContentType":"image/png"}'"#,
    );
    let report = import(&database, &shoko, &["--dry-run"]);
    let (done, why) = row(&report, "JMMUser", 1);
    assert_eq!(
        (done, why.as_str()),
        ("added", "the avatar is skipped: it is too large")
    );
}

#[apply(both_databases!)]
fn the_generated_administrator_stays_if_no_imported_administrator_can_log_in(backend: Backend) {
    let database = TestDatabase::create(backend);
    let mut shoko = ShokoDatabase::create(database.folder.path(), ShokoVersion::V6_0);
    shoko.user(1, Some("Default"), Some(""), true);
    shoko.user(2, Some("boss"), None, true);
    shoko.user(3, Some("carol"), Some(&sha512(PASSWORD)), false);
    shoko.expiring_key(1, 2, "tv", &key(1), "2099-07-01 12:00:00");
    shoko.key(2, 3, "tv", &key(2));
    let server = ServerProcess::start(database.program(&["serve"]));
    let password = generated_password(&server.greeting()).to_owned();
    let dry_run = import(&database, &shoko, &["--dry-run"]);
    let report = import(&database, &shoko, &[]);
    assert_eq!(dry_run["keptAdministrator"], "Default");
    assert_eq!(
        (&report["keptAdministrator"], &report["removedAdministrator"]),
        (&json!("Default"), &Value::Null)
    );
    assert_eq!(report["users"], json!({"added": 2, "merged": 1, "skipped": 0}));
    let admin = server.key(ADMIN, &password, "d");
    let me = server
        .get("/api/v3/User/Current")
        .header("apikey", &admin)
        .send()
        .json();
    assert_eq!(me["IsAdmin"], json!(true));
}
