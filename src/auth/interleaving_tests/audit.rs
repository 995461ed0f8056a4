use test_support::{Backend, apply, both_databases};

use super::{Nodes, OLD, log_in, revoke_all_keys, verify};
use crate::auth::NewKey;
use crate::auth::audit::Event;
use crate::model::{Caller, KeyHolder, Name, RequestContext, RequestedExpiry, Scope};

#[apply(both_databases!)]
fn a_key_revoked_between_authentication_and_a_write_is_an_audit_event(backend: Backend) {
    let nodes = Nodes::on(backend);
    let device = |name: &str| Name::parse(name).unwrap();
    let operations: [&dyn Fn(&Caller) -> bool; 5] = [
        &|caller| nodes.one.set_web_ui_settings(caller.into(), "x").is_err(),
        &|caller| {
            let issued = nodes.one.issue_key(caller, &device("a"), RequestedExpiry::Never);
            issued.is_err()
        },
        &|caller| {
            let new = NewKey {
                device: device("b"),
                scope: Scope::Full,
                expiry: RequestedExpiry::Never,
            };
            nodes.one.issue_new_key(caller, &new).is_err()
        },
        &|caller| nodes.one.current_key(caller).is_err(),
        &|caller| {
            let holder = KeyHolder {
                user_id: -1,
                ..(*caller.holder).clone()
            };
            let of_deleted_user = Caller::new(holder.into(), RequestContext::default());
            nodes.one.own_user(&of_deleted_user).is_err()
        },
    ];
    for (number, operation) in operations.iter().enumerate() {
        let caller = verify(&nodes.one, &log_in(&nodes.one, OLD).unwrap()).unwrap();
        revoke_all_keys(&nodes.two).unwrap();
        nodes.one.sweep_keys().unwrap();
        // The first event gets a line of its own, and the repeats are counted.
        nodes.one.log_rejected_key(&caller.context);
        assert!(operation(&caller), "operation {number} is rejected");
        let repeats = nodes.one.audit.repeats_of(Event::KeyRejected);
        assert_eq!(repeats, 1, "operation {number}");
    }
}
