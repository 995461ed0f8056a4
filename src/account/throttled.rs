//! `/api/account/throttled`: the networks and users that have to wait after failed logins, for administrators.

use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use actix_web::web::Data;

use super::caller::AccountAdmin;
use super::parameters::PageParameters;
use super::requests::Confirmation;
use super::responses::{Throttled, ThrottledItem};
use super::{examples, json};
use crate::auth::Auth;
use crate::model::{Name, Network, UserRef};
use crate::web::body::Body;
use crate::web::call;
use crate::web::problem::Problem;
use crate::web::query::Query;
use crate::web::responses::{AdministrationForbidden, AdministratorsOnly, BadRequest, TooManyFailures, UnknownUser};

/// List the networks and users that have to wait after failed logins.
#[utoipa::path(get, path = "/api/account/throttled", tag = "Account",
    params(PageParameters),
    responses((status = 200, description = "The waits, the longest ones first.", body = Throttled, example = json!(examples::throttled())),
        (status = 400, response = BadRequest), (status = 403, response = AdministratorsOnly)))]
pub async fn list(auth: Data<Auth>, _admin: AccountAdmin, query: Query) -> Result<HttpResponse, Problem> {
    let page = json::page(&query)?;
    let (waiting, total) = call(&auth, move |auth| auth.throttles_page(page)).await?;
    let throttled = Throttled {
        total,
        unknown_names: waiting.unknown_names,
        list: waiting.waits.into_iter().map(ThrottledItem::from).collect(),
    };
    Ok(json::respond(StatusCode::OK, &throttled))
}

/// Clear failed logins.
///
/// Specify either a user, or a network. With a network, those of the wider networks around it are cleared too.
#[utoipa::path(delete, path = "/api/account/throttled", tag = "Account",
    params(("user" = Option<String>, Query, description = "The user's name."),
        ("network" = Option<String>, Query, description = "An address, or a network as in the list, such as `203.0.113.7`.")),
    request_body(content = Option<Confirmation>, content_type = "application/json", description = "The current password, required with a session."),
    responses((status = 204, description = "The failed logins are cleared."), (status = 403, response = AdministrationForbidden),
        (status = 404, response = UnknownUser), (status = 429, response = TooManyFailures)))]
pub async fn clear(auth: Data<Auth>, admin: AccountAdmin, query: Query, body: Body) -> Result<HttpResponse, Problem> {
    let selection = selection(&query)?;
    let admin = admin.confirmed_by(&auth, body).await?;
    call(&auth, move |auth| match &selection {
        Selection::User(user) => auth.unlock((&admin).into(), user),
        Selection::Network(network) => auth.clear_failures_of_network((&admin).into(), *network),
    })
    .await?;
    Ok(HttpResponse::NoContent().finish())
}

/// The failed logins to clear.
enum Selection {
    User(UserRef),
    Network(Network),
}

fn selection(query: &Query) -> Result<Selection, Problem> {
    match (query.one("user")?, query.one("network")?) {
        (Some(user), None) => {
            let user = Name::parse(user).map_err(|error| Problem::invalid("user", error.to_string()))?;
            Ok(Selection::User(UserRef::Name(user)))
        }
        (None, Some(network)) => match network.parse() {
            Ok(network) => Ok(Selection::Network(network)),
            Err(reason) => Err(Problem::invalid(
                "network",
                format!("The network is not valid: {reason}."),
            )),
        },
        (None, None) | (Some(_), Some(_)) => {
            Err(Problem::invalid("", "Select either a user or a network in the query."))
        }
    }
}
