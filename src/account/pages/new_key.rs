//! The form that issues a key for a device, and the page that shows the key.

use actix_web::HttpResponse;
use actix_web::web::Data;
use askama::Template;
use chrono::{NaiveDateTime, TimeDelta};

use super::form::Fields;
use super::layout::{Layout, PageResult};
use super::reason::{Reason, field};
use super::times::Moment;
use super::visit::{SignedForm, SignedIn};
use crate::auth::{Auth, NewKey};
use crate::model::{Hosts, KeyInfo, RequestedExpiry, Scope, escape_invisible};
use crate::secret::key::Key;
use crate::web::call;

/// The lifetimes to choose from, in days.
const LIFETIMES: [u16; 5] = [1, 7, 30, 90, 365];
/// The preselected lifetime in days.
const DEFAULT_LIFETIME: u16 = 30;
const SCOPE: &str = "scope";
const GATEWAY: &str = "gateway";

#[derive(Template)]
#[template(path = "account/new-key.html")]
struct NewKeyPage<'a> {
    p: &'a Layout,
    device: &'a str,
    hosts: &'a str,
    is_gateway: bool,
    lifetimes: Vec<LifetimeOption>,
}

struct LifetimeOption {
    value: String,
    text: String,
    is_selected: bool,
}

#[derive(Template)]
#[template(path = "account/issued-key.html")]
struct IssuedKeyPage<'a> {
    p: &'a Layout,
    device: String,
    key: String,
    expires: Option<Moment>,
}

/// Shows the form.
pub async fn show(visit: SignedIn) -> PageResult {
    Ok(form_page(&visit.layout, &Fields::default()))
}

/// Issues the key. The response is the only one that contains it, so it is no redirect.
pub async fn issue(auth: Data<Auth>, form: SignedForm) -> PageResult {
    match issued(&auth, &form).await {
        Ok((key, info)) => Ok(issued_page(&form.layout, &key, &info)),
        Err(reason) => {
            let (p, fields) = form.again(reason)?;
            Ok(form_page(&p, &fields))
        }
    }
}

async fn issued(auth: &Data<Auth>, form: &SignedForm) -> Result<(Key, KeyInfo), Reason> {
    let new = new_key(&form.fields, form.layout.now)?;
    let caller = form.confirmed(auth).await?;
    Ok(call(auth, move |auth| auth.issue_new_key(&caller, &new)).await?)
}

fn issued_page(p: &Layout, key: &Key, info: &KeyInfo) -> HttpResponse {
    p.show(&IssuedKeyPage {
        p,
        device: escape_invisible(&info.device).into_owned(),
        key: key.expose(),
        expires: info.expires_at.map(|time| p.moment(time)),
    })
}

fn form_page(p: &Layout, fields: &Fields) -> HttpResponse {
    let is_new = fields.text(SCOPE).is_empty();
    let selected = if is_new {
        Some(DEFAULT_LIFETIME)
    } else {
        fields.text(field::EXPIRY).parse().ok()
    };
    let offered = LIFETIMES
        .into_iter()
        .filter(|days| u64::from(*days) <= p.site.max_key_days);
    let lifetimes = offered.map(Some).chain([None]).map(|days| LifetimeOption {
        value: days.map(|days| days.to_string()).unwrap_or_default(),
        text: (p.t.new_key.days)(days),
        is_selected: days == selected,
    });
    p.show(&NewKeyPage {
        p,
        device: fields.text(field::DEVICE),
        hosts: fields.text(field::HOSTS),
        is_gateway: fields.text(SCOPE) == GATEWAY,
        lifetimes: lifetimes.collect(),
    })
}

fn new_key(fields: &Fields, now: NaiveDateTime) -> Result<NewKey, Reason> {
    let hosts = fields.text(field::HOSTS);
    let scope = match fields.text(SCOPE) {
        "full" => Scope::Full,
        GATEWAY if hosts.trim().is_empty() => Scope::Gateway(Hosts::every()),
        GATEWAY => {
            let separated = hosts.split(|c: char| c == ',' || c.is_whitespace());
            Scope::Gateway(Hosts::parse(separated.filter(|host| !host.is_empty()))?)
        }
        _ => return Err(Reason::BadValue),
    };
    let expiry = match fields.text(field::EXPIRY) {
        "" => RequestedExpiry::Never,
        days => {
            let days: u16 = days.parse().map_err(|_| Reason::BadValue)?;
            RequestedExpiry::At(now + TimeDelta::days(days.into()))
        }
    };
    let device = fields.name(field::DEVICE)?;
    Ok(NewKey { device, scope, expiry })
}
