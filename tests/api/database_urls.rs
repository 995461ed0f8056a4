use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Output;
use std::thread;

use test_support::database::SEALING_SECRET;
use test_support::process::command;
use test_support::{Backend, TestDatabase};

use crate::support::PROGRAM;

/// Runs `user list` on the database of `url`, in `folder`.
fn list_users(url: &str, folder: &Path) -> Output {
    command(PROGRAM, &["user", "list"])
        .current_dir(folder)
        .env("DATABASE_URL", url)
        .env("SHOKO_AUTH_SECRET_KEY", SEALING_SECRET)
        .output()
        .unwrap()
}

/// Returns the host with port, and the name of a test database on PostgreSQL.
fn host_and_name(database: &TestDatabase) -> (String, String) {
    let url = database.url();
    let place = url.rsplit('@').next().unwrap();
    let (host, name) = place.split_once('/').unwrap();
    (host.to_owned(), name.split('?').next().unwrap().to_owned())
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn odd_passwords_work_as_they_are_and_no_part_of_them_is_printed() {
    let database = TestDatabase::create(Backend::Postgres);
    let (host, name) = host_and_name(&database);
    let role = format!("{name}_role");
    database.execute(&format!("CREATE ROLE {role} LOGIN SUPERUSER"));
    for password in [
        "Hunter@Hunter",
        "Hunter/Hunter",
        "Hunter:Hunter",
        "Hunter?Hunter",
        "Hunter#Hunter",
        "Hunter Hunter",
        "Hunter'Hunter",
        "Hunter\\Hunter",
        "Hunter\"Hunter",
        "Hunter&Hunter=1",
        "@Hunter@",
        "/Hunter/",
        ":Hunter:",
        "Hunter@host:1/Hunter",
        "Hunter?x=1@Hunter",
        "Hunter[::1]Hunter",
        "Hunter,Hunter",
        "Hünter日本",
        "1/Hunter@2",
        "Hunter+Hunter;$(Hunter)",
    ] {
        let quoted = password.replace('\'', "''");
        database.execute(&format!(
            "SET standard_conforming_strings = on; ALTER ROLE {role} PASSWORD '{quoted}'"
        ));
        let encoded: String = password
            .bytes()
            .fold(String::new(), |text, byte| text + &format!("%{byte:02X}"));
        for password in [password, &encoded] {
            // The server checks the password only if its configuration says so.
            let output = list_users(
                &format!("postgres://{role}:{password}@{host}/{name}"),
                database.folder.path(),
            );
            assert!(output.status.success(), "{password}: {output:?}");
            let output = list_users(
                &format!("postgres://{role}:{password}@127.0.0.1:1/{name}"),
                database.folder.path(),
            );
            let error = String::from_utf8(output.stderr).unwrap();
            assert!(!output.status.success() && error.contains("127.0.0.1:1"), "{error}");
            assert!(!error.contains("nter"), "{error}");
        }
    }
    database.execute(&format!("REASSIGN OWNED BY {role} TO CURRENT_USER; DROP ROLE {role}"));
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn every_form_of_a_postgresql_url_reaches_the_database() {
    let database = TestDatabase::create(Backend::Postgres);
    let (place, name) = host_and_name(&database);
    let server = env::var("TEST_DATABASE_URL").unwrap();
    let (login, _) = server.split_once("://").unwrap().1.rsplit_once('@').unwrap();
    let (user, password) = login.split_once(':').unwrap_or((login, ""));
    let (host, port) = place.split_once(':').unwrap_or((&place, "5432"));
    // The folder of a socket is percent-encoded in a URL, but not elsewhere.
    let plain_host = percent_encoding::percent_decode_str(host).decode_utf8().unwrap();
    let service = database.folder.path().join("services");
    fs::write(
        &service,
        format!("[auth]\npassword={password}\nhost={plain_host}\nport={port}\nuser={user}\ndbname={name}\n"),
    )
    .unwrap();
    for url in [
        format!("postgres://{login}@127.0.0.1:1,{host}:{port}/{name}?target_session_attrs=read-write"),
        format!("  POSTGRESQL://{login}@{host}:{port}/{name}\n"),
        format!("postgres://{login}@/{name}?host={host}&port={port}"),
        format!("postgres:///?user={user}&password={password}&host={host}&port={port}&dbname={name}"),
        format!("postgres://{login}@{host}:{port}/{name}?options=-c%20geqo%3Doff&application_name=x"),
    ] {
        let output = list_users(&url, database.folder.path());
        assert!(output.status.success(), "{url}: {output:?}");
    }
    let output = command(PROGRAM, &["user", "list"])
        .env("DATABASE_URL", "postgres:///?service=auth")
        .env("PGSERVICEFILE", &service)
        .env("SHOKO_AUTH_SECRET_KEY", SEALING_SECRET)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let output = command(PROGRAM, &["user", "list"])
        .env("DATABASE_URL", "postgres://")
        .envs([
            ("PGHOST", plain_host.as_ref()),
            ("PGPORT", port),
            ("PGUSER", user),
            ("PGPASSWORD", password),
            ("PGDATABASE", &name),
        ])
        .env("SHOKO_AUTH_SECRET_KEY", SEALING_SECRET)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn every_server_in_the_url_is_tried_also_after_one_that_refuses_the_login() {
    let database = TestDatabase::create(Backend::Postgres);
    let (host, name) = host_and_name(&database);
    let server = env::var("TEST_DATABASE_URL").unwrap();
    let (login, _) = server.split_once("://").unwrap().1.rsplit_once('@').unwrap();
    let refusing = refusing_server();
    let url =
        format!("postgres://{login}@127.0.0.1:1,127.0.0.1:{refusing},{host}/{name}?sslmode=disable&gssencmode=disable");
    let output = list_users(&url, database.folder.path());
    assert!(output.status.success(), "{output:?}");
    let url = format!("postgres://{login}@127.0.0.1:{refusing}/{name}?sslmode=disable&gssencmode=disable");
    let output = list_users(&url, database.folder.path());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(error.contains("authentication failed"), "{error}");
}

/// Starts a server that refuses all logins, and returns its port.
fn refusing_server() -> u16 {
    const REFUSAL: &[u8] = b"SFATAL\0VFATAL\0C28P01\0Mpassword authentication failed for user \"x\"\0\0";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _length = stream.read(&mut [0; 1024]).unwrap();
            let length = u32::try_from(REFUSAL.len() + 4).unwrap();
            stream
                .write_all(&[b"E", &length.to_be_bytes()[..], REFUSAL].concat())
                .unwrap();
        }
    });
    port
}

#[test]
#[ignore = "needs PostgreSQL: run ./scripts/test"]
fn the_options_in_the_url_apply_to_each_session() {
    let database = TestDatabase::create(Backend::Postgres);
    let url = database.url();
    let separator = if url.contains('?') { '&' } else { '?' };
    let url = format!("{url}{separator}options=-c%20default_transaction_read_only%3Don");
    let output = list_users(&url, database.folder.path());
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(
        !output.status.success() && error.contains("accepts no changes"),
        "{error}"
    );
}

#[test]
fn sqlite_urls_of_other_programs_open_that_file_or_create_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    for url in [
        "sqlite:a.db".to_owned(),
        "sqlite://a.db".to_owned(),
        "file:a.db".to_owned(),
        format!("sqlite://{path}/a.db"),
        format!("file://{path}/a.db"),
        format!("file://localhost{path}/a.db\n"),
    ] {
        let output = list_users(&url, folder.path());
        assert!(output.status.success(), "{url}: {output:?}");
        assert!(folder.path().join("a.db").exists(), "{url}");
    }
    fs::remove_dir_all(folder.path().join("data")).unwrap();
    for (url, hint) in [
        ("sqlite://b.db?mode=rwc", "question mark"),
        ("sqlite://b%20c.db", "percent-encoding"),
        ("sqlite://~/b.db", "expanded"),
        ("sqlite::memory:", "in memory"),
        ("file://b/c.db", "file:///"),
        ("'sqlite://b.db'", "quotes"),
        ("b.db", "sqlite://"),
    ] {
        let output = list_users(url, folder.path());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(2) && error.contains(hint),
            "{url}: {error}"
        );
    }
    let files = fs::read_dir(folder.path()).unwrap();
    let files: Vec<_> = files
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(files.iter().all(|name| name.starts_with("a.db")), "{files:?}");
}
