//! `/api/auth/introspect`: introspection for services that verify keys themselves (RFC 7662).

use actix_web::{FromRequest, HttpRequest, HttpResponse};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;
use serde::Serialize;
use utoipa::ToSchema;

use super::credentials::{Presented, PresentedKey};
use crate::error::KeyError;
use crate::model::{self, Acceptance, KeyHolder, KeyKind, Scope};
use crate::secret::key::Key;
use crate::web::address::request_context;
use crate::web::body::{Body, FORM_TYPE, is_form};
use crate::web::caller::{auth, find_accepted};
use crate::web::problem::Problem;
use crate::web::query::Query;
use crate::web::responses::AdministratorsOnly;

/// A service that presents a key of an administrator, full or for the gateway.
pub struct Introspector;

impl FromRequest for Introspector {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut actix_web::dev::Payload) -> Self::Future {
        let request = request.clone();
        async move {
            let caller = match Presented::in_headers(request.headers()) {
                Presented::Key(presented) => caller_of(&request, presented).await?,
                Presented::Ambiguous => None,
                Presented::Nothing => return Err(KeyError::Required.into()),
            };
            let Some(caller) = caller else {
                auth(&request).log_rejected_key(&request_context(&request));
                return Err(KeyError::Invalid.into());
            };
            auth(&request).require_admin(&caller)?;
            Ok(Self)
        }
        .boxed_local()
    }
}

async fn caller_of(request: &HttpRequest, presented: PresentedKey) -> Result<Option<model::Caller>, KeyError> {
    let acceptance = Acceptance::GatewayKeys { host: None };
    let found = find_accepted(request, std::slice::from_ref(&presented.key), acceptance).await?;
    Ok(found.filter(|caller| presented.is_of(&caller.holder)))
}

/// The description of a key that a service receives.
#[derive(Default, Serialize, ToSchema)]
pub struct Introspection {
    /// Whether the key is valid. If it is not, there are no other members.
    active: bool,
    /// `full`, or `gateway` for a key that only forward-auth and this route accept.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    scope: Option<&'static str>,
    /// The name of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    client_id: Option<String>,
    /// The user's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    username: Option<String>,
    /// `Bearer`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token_type: Option<&'static str>,
    /// When the key expires, in seconds since 1970. Absent if the key never expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    exp: Option<i64>,
    /// When the key was issued, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    iat: Option<i64>,
    /// The user's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    sub: Option<String>,
}

impl Introspection {
    /// Describes the key of this holder. A session is not a key.
    fn of(holder: Option<&KeyHolder>) -> Self {
        let Some(holder) = holder else { return Self::default() };
        let scope = match &holder.kind {
            KeyKind::Device(scope @ (Scope::Full | Scope::Gateway(_))) => scope.name(),
            KeyKind::Session | KeyKind::GatewayCookie => return Self::default(),
        };
        Self {
            active: true,
            scope: Some(scope),
            client_id: Some(holder.device.clone()),
            username: Some(holder.user.clone()),
            token_type: Some("Bearer"),
            exp: holder.expiration.map(|expiration| expiration.at.and_utc().timestamp()),
            iat: Some(holder.created_at.and_utc().timestamp()),
            sub: Some(holder.user_id.to_string()),
        }
    }
}

/// The form of an introspection request (RFC 7662, section 2.1).
#[derive(ToSchema)]
#[expect(dead_code, reason = "`introspect` reads the form")]
struct IntrospectionRequest {
    /// The key to check.
    token: String,
}

/// Check whether a key is valid, and get its owner (RFC 7662).
///
/// The caller presents a key of an administrator, full or for the gateway: in the header `apikey`, or in
/// `Authorization` (Bearer, or Basic with the key as password). The response for an invalid key has only the member
/// `active`. A key that is limited to hosts counts as invalid, because the server does not know the host of the
/// service.
#[utoipa::path(post, path = "/api/auth/introspect", tag = "Gateway",
    security(("ApiKey" = []), ("Bearer" = [])),
    request_body(content = IntrospectionRequest, content_type = "application/x-www-form-urlencoded", description = "The key as `token`. Other members are ignored.",
        example = json!({"token": "00000000-0000-4000-8000-000000000000"})),
    responses((status = 200, description = "Whether the key is valid.", body = Introspection, example = json!({
            "active": true, "scope": "full", "client_id": "kodi", "username": "bob", "token_type": "Bearer", "iat": 1_764_408_000, "sub": "2"
        })), (status = 403, response = AdministratorsOnly)))]
pub async fn introspect(_caller: Introspector, request: HttpRequest, body: Body) -> Result<HttpResponse, Problem> {
    let text = body.text(is_form, FORM_TYPE).await?;
    let form = Query::parse_strictly(&text).ok_or_else(|| Problem::invalid("", "The body is not a valid form."))?;
    let token = form
        .one("token")?
        .ok_or_else(|| Problem::invalid("token", "The token is required."))?;
    let holder = match Key::parse(token) {
        Some(key) => find_accepted(&request, &[key], Acceptance::GatewayKeys { host: None }).await?,
        None => None,
    };
    let introspection = Introspection::of(holder.as_ref().map(|caller| &*caller.holder));
    Ok(HttpResponse::Ok().json(&introspection))
}
