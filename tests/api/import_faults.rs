use std::process::Stdio;
use std::thread::sleep;
use std::time::Instant;

use serde_json::Value;
use test_support::shoko_database::{ShokoDatabase, ShokoVersion};
use test_support::{Backend, TestDatabase, apply, both_databases};

use crate::import::{import, insert_rows};
use crate::support::{TestApp, UseDatabase};

#[apply(both_databases!)]
fn logins_succeed_during_an_import(backend: Backend) {
    let app = TestApp::on(backend);
    let mut shoko = ShokoDatabase::create(app.database.folder.path(), ShokoVersion::V5_3);
    insert_rows(&mut shoko);
    app.add_user("bob", "bobs long password");
    let mut command = app.database.program(&[
        "import",
        "shoko",
        shoko.file.to_str().unwrap(),
        "--pbkdf2-rounds",
        "20000",
    ]);
    let import = std::thread::spawn(move || command.output().unwrap());
    let mut logins = 0;
    while !import.is_finished() {
        assert_eq!(
            app.log_in("bob", "bobs long password", &format!("d{logins}")).status,
            200
        );
        logins += 1;
    }
    assert!(import.join().unwrap().status.success());
    // The import hashes 200 passwords, and each hash takes as long as several logins. If logins are not
    // blocked, many of them finish in that time.
    assert!(logins > 20, "{logins}");
}

#[apply(both_databases!)]
fn a_killed_import_writes_everything_or_nothing(backend: Backend) {
    let folder = tempfile::tempdir().unwrap();
    let mut shoko = ShokoDatabase::create(folder.path(), ShokoVersion::V5_3);
    insert_rows(&mut shoko);
    let start = Instant::now();
    import(&TestDatabase::create(backend), &shoko, &[]);
    let mut delay = start.elapsed();
    let (mut complete, mut untouched, mut database) = (0, 0, TestDatabase::create(backend));
    for round in 0.. {
        if round >= 15 && complete > 0 && untouched > 0 {
            break;
        }
        assert!(round < 200, "{complete} complete, {untouched} untouched");
        let mut command = database.program(&["import", "shoko", shoko.file.to_str().unwrap()]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        sleep(delay);
        child.kill().unwrap();
        child.wait().unwrap();
        database.wait_until_unused();
        let users = database.run(&["user", "list", "--json"], "");
        let users: Value = serde_json::from_slice(&users.stdout).unwrap();
        let keys = database.run(&["key", "list", "--json"], "");
        let keys: Value = serde_json::from_slice(&keys.stdout).unwrap();
        match (users.as_array().unwrap().len(), keys.as_array().unwrap().len()) {
            // Adjust the delay so that the next kill comes closer to the commit.
            (0, 0) => {
                untouched += 1;
                delay = delay.mul_f64(1.07);
            }
            (207, 1008) => {
                complete += 1;
                delay = delay.mul_f64(0.9);
                database = TestDatabase::create(backend);
            }
            other => panic!("the import wrote only a part: (users, keys) are {other:?}"),
        }
    }
}
