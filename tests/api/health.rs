use test_support::{Backend, apply, both_databases};

use crate::support::TestApp;

#[apply(both_databases!)]
fn a_running_server_is_live_and_ready(backend: Backend) {
    let app = TestApp::on(backend);
    for path in ["/health/live", "/health/ready", "/Health/Ready/"] {
        let response = app.get(path).send();
        assert_eq!(response.status, 200, "{path}");
        assert_eq!(
            response.header("content-type").as_deref(),
            Some("application/json; charset=utf-8")
        );
        let head = app.request("HEAD", path).send();
        assert_eq!((head.status, head.body.len()), (200, 0));
        app.post(path).body("").send().problem(405);
    }
}

#[apply(both_databases!)]
fn a_server_whose_database_lacks_a_table_is_not_ready(backend: Backend) {
    let app = TestApp::on(backend);
    for table in ["login_failures", "preferences", "changes"] {
        app.database.execute(&format!("ALTER TABLE {table} RENAME TO lost"));
        app.get("/health/ready").send().problem(503);
        app.database.execute(&format!("ALTER TABLE lost RENAME TO {table}"));
        assert_eq!(app.get("/health/ready").send().status, 200, "{table}");
    }
}
