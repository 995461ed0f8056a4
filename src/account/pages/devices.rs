//! The caller's own devices and browsers.

use std::net::IpAddr;

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::layout::{Layout, PageResult};
use super::notice::Notice;
use super::paging::{self, Pager};
use super::reason::Reason;
use super::sign_in::signed_out;
use super::times::Moment;
use super::visit::{SignedForm, SignedIn};
use crate::auth::{Auth, KeySelection};
use crate::error::ManageError;
use crate::model::{Actor, Caller, KeyInfo, KeyKind, Scope, UserRef, escape_invisible};
use crate::web::call;
use crate::web::query::Query;

/// The number of hosts of a key that are listed.
const MAX_LISTED_HOSTS: usize = 3;

/// The key of this request. It is in use now, but its row may say otherwise for another minute.
#[derive(Clone, Copy)]
pub struct CurrentKey {
    id: i64,
    address: Option<IpAddr>,
}

impl From<&Caller> for CurrentKey {
    fn from(caller: &Caller) -> Self {
        Self {
            id: caller.holder.key_id,
            address: caller.context.address,
        }
    }
}

/// A key in a list.
pub struct KeyCard {
    pub id: i64,
    /// The name with escapes for invisible characters.
    pub name: String,
    pub kind: &'static str,
    pub is_current: bool,
    pub hosts: Vec<String>,
    /// The number of hosts that are not listed.
    pub more_hosts: Option<String>,
    pub created: Moment,
    pub last_used: Option<Moment>,
    pub last_used_from: Option<String>,
    pub expires: Option<Moment>,
}

impl KeyCard {
    #[must_use]
    pub fn new(key: KeyInfo, current: CurrentKey, p: &Layout) -> Self {
        let (kind, hosts) = match &key.kind {
            KeyKind::Session | KeyKind::GatewayCookie => (p.t.devices.browser, None),
            KeyKind::Device(Scope::Full) => (p.t.devices.device, None),
            KeyKind::Device(scope @ Scope::Gateway(_)) => (p.t.devices.gateway, scope.hosts()),
        };
        let hosts = hosts.unwrap_or_default();
        let is_current = key.id == current.id;
        let (last_used_at, last_used_from) = if is_current {
            (Some(p.now), current.address.map(|address| address.to_string()))
        } else {
            (key.last_used_at, key.last_used_from)
        };
        Self {
            id: key.id,
            kind,
            is_current,
            hosts: hosts.iter().take(MAX_LISTED_HOSTS).cloned().collect(),
            more_hosts: hosts
                .len()
                .checked_sub(MAX_LISTED_HOSTS + 1)
                .map(|others| (p.t.devices.more_hosts)(others + 1)),
            name: escape_invisible(&key.device).into_owned(),
            created: p.moment(key.created_at),
            last_used: last_used_at.map(|time| p.moment(time)),
            last_used_from,
            expires: key.expires_at.map(|time| p.moment(time)),
        }
    }
}

#[derive(Template)]
#[template(path = "account/devices.html")]
struct DevicesPage<'a> {
    p: &'a Layout,
    keys: Vec<KeyCard>,
    pager: Pager,
}

/// Lists the caller's devices and browsers.
pub async fn list(auth: Data<Auth>, visit: SignedIn, query: Query) -> PageResult {
    let (p, caller, page) = (visit.layout, visit.caller, paging::page(&query));
    let (user_id, current) = (caller.holder.user_id, CurrentKey::from(&caller));
    let found = call(&auth, move |auth| auth.keys_page(&caller, user_id, page)).await;
    let (keys, total) = match found {
        Ok(found) => found,
        Err(error) => return Err(p.fail(error)),
    };
    let keys = keys.into_iter().map(|key| KeyCard::new(key, current, &p)).collect();
    let pager = Pager::new(&p, &[], page, total);
    Ok(p.show(&DevicesPage { p: &p, keys, pager }))
}

/// Revokes one of the caller's keys or sessions. Succeeds even if the key has already been revoked.
pub async fn revoke(auth: Data<Auth>, form: SignedForm, id: Path<String>, query: Query) -> PageResult {
    let SignedForm { caller, layout, .. } = form;
    let Ok(key_id) = id.parse() else {
        return Err(layout.fail(Reason::UnknownPage));
    };
    let user_id = caller.holder.user_id;
    let revoked = call(&auth, move |auth| {
        auth.revoke_key_of_user((&caller).into(), user_id, key_id)
    })
    .await;
    match revoked {
        Ok(()) | Err(ManageError::UnknownKey) => {
            let shown = paging::page(&query);
            Ok(layout.redirect_to_list("", shown, Notice::DeviceSignedOut))
        }
        Err(error) => Err(layout.fail(error)),
    }
}

/// Revokes all keys and sessions of the caller except the session of this browser.
pub async fn revoke_others(auth: Data<Auth>, form: SignedForm) -> PageResult {
    let SignedForm { caller, layout, .. } = form;
    match call(&auth, move |auth| auth.revoke_other_keys(&caller)).await {
        Ok(()) => Ok(layout.redirect("", Notice::OthersSignedOut)),
        Err(error) => Err(layout.fail(error)),
    }
}

/// Revokes all keys and sessions of the caller.
pub async fn revoke_all(auth: Data<Auth>, form: SignedForm, request: HttpRequest) -> PageResult {
    let SignedForm { caller, layout, .. } = form;
    let user = UserRef::Id(caller.holder.user_id);
    let all = KeySelection::User { user, device: None };
    let revoked = call(&auth, move |auth| auth.revoke_keys(Actor::Caller(&caller), &all)).await;
    match revoked {
        Ok(_) => Ok::<HttpResponse, _>(signed_out(&layout, &request)),
        Err(error) => Err(layout.fail(error)),
    }
}
