//! The users and networks that have to wait after failed logins, for administrators.

use actix_web::web::Data;
use askama::Template;

use super::form::Fields;
use super::layout::{Layout, PageResult};
use super::notice::Notice;
use super::paging::{self, Pager};
use super::reason::Reason;
use super::times::Moment;
use super::visit::{AdminForm, AdminVisit};
use crate::auth::{Auth, Page, Wait};
use crate::model::{Name, Network, UserRef};
use crate::web::call;
use crate::web::query::Query;

/// The name of the buttons that unlock a user or a network, in front of its name.
const USER: &str = "unlock-user";
const NETWORK: &str = "unlock-network";

struct WaitCard {
    user: Option<String>,
    network: Option<String>,
    failures: i32,
    until: Moment,
}

impl WaitCard {
    fn new(wait: Wait, p: &Layout) -> Self {
        Self {
            user: wait.user,
            // An IPv4 network is a single address, and is shown as one.
            network: wait
                .network
                .map(|network| network.to_string().trim_end_matches("/32").to_owned()),
            failures: wait.failures,
            until: p.moment(wait.until),
        }
    }
}

#[derive(Template)]
#[template(path = "account/throttled.html")]
struct ThrottledPage<'a> {
    p: &'a Layout,
    waits: Vec<WaitCard>,
    unknown_names: Option<String>,
    pager: Pager,
}

/// Lists the waits.
pub async fn list(auth: Data<Auth>, visit: AdminVisit, query: Query) -> PageResult {
    throttled_page(&auth, visit.0.layout, paging::page(&query)).await
}

/// Clears the failed logins of a user or a network.
pub async fn unlock(auth: Data<Auth>, form: AdminForm) -> PageResult {
    match unlocked(&auth, &form).await {
        Ok(()) => Ok(form.0.layout.redirect("throttled", Notice::Unlocked)),
        Err(reason) => {
            let (p, _) = form.0.again(reason)?;
            throttled_page(&auth, p, paging::page(&Query::default())).await
        }
    }
}

async fn unlocked(auth: &Data<Auth>, form: &AdminForm) -> Result<(), Reason> {
    let selected = Selected::of(&form.0.fields)?;
    let admin = form.0.confirmed(auth).await?;
    let unlock = call(auth, move |auth| match &selected {
        Selected::User(user) => auth.unlock((&admin).into(), user),
        Selected::Network(network) => auth.clear_failures_of_network((&admin).into(), *network),
    });
    Ok(unlock.await?)
}

/// The user or the network of the button that was pressed.
enum Selected {
    User(UserRef),
    Network(Network),
}

impl Selected {
    fn of(fields: &Fields) -> Result<Self, Reason> {
        if fields.is_filled(USER) {
            let name = Name::parse(fields.text(USER)).map_err(|_| Reason::BadValue)?;
            Ok(Self::User(UserRef::Name(name)))
        } else {
            let network = fields.text(NETWORK).parse();
            network.map(Self::Network).map_err(|_| Reason::BadValue)
        }
    }
}

async fn throttled_page(auth: &Data<Auth>, p: Layout, page: Page) -> PageResult {
    let (throttles, total) = match call(auth, move |auth| auth.throttles_page(page)).await {
        Ok(found) => found,
        Err(error) => return Err(p.fail(error)),
    };
    let unknown_names = (throttles.unknown_names > 0).then(|| (p.t.throttled.unknown_names)(throttles.unknown_names));
    Ok(p.show(&ThrottledPage {
        waits: throttles
            .waits
            .into_iter()
            .map(|wait| WaitCard::new(wait, &p))
            .collect(),
        unknown_names,
        pager: Pager::new(&p, &[], page, total),
        p: &p,
    }))
}
