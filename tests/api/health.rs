use crate::support::{Backend, TestApp, on_both_databases};

on_both_databases! {
    fn a_running_server_is_live_and_ready(app: TestApp) {
        for path in ["/health/live", "/health/ready", "/Health/Ready/"] {
            let answer = app.get(path).send();
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(answer.header("content-type").as_deref(), Some("application/json; charset=utf-8"));
            let head = app.request("HEAD", path).send();
            assert_eq!((head.status, head.body.len()), (200, 0));
            app.post(path).body("").send().problem(405);
        }
    }
}
