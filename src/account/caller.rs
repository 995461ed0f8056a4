//! The callers of the account's routes.
//!
//! A caller presents a full key in a header, or a session in the cookie. If there is a key in a header, the cookie is
//! ignored. A request that changes something and presents only the cookie must come from a page of this server, because
//! browsers also add the cookie to requests of foreign pages.

use std::ops::Deref;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::cookie::session_secret;
use super::json;
use super::requests::Confirmation;
use crate::auth::Auth;
use crate::error::{KeyError, ServiceError};
use crate::model::{self, Acceptance, SecretText};
use crate::secret::token::SessionSecret;
use crate::web::address::request_context;
use crate::web::body::Body;
use crate::web::call;
use crate::web::caller::{Caller, Dialect, Keys, auth, find_session, header_keys};
use crate::web::origin::{OriginError, check_own_page};
use crate::web::problem::Problem;

/// How programs present keys.
struct InHeader;

impl Dialect for InHeader {
    type Error = Problem;

    fn presented_keys(request: &HttpRequest) -> Result<Keys, Problem> {
        Ok(header_keys(request)?)
    }

    fn acceptance(_: &HttpRequest) -> Acceptance {
        Acceptance::FullKeys
    }
}

/// The caller of a route that requires a session or a full key.
pub struct AccountCaller {
    caller: model::Caller,
    /// The secret of the session, if the caller presents one. Forms need it for their token.
    pub session: Option<SessionSecret>,
}

/// The reason why a request has no session.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionError {
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error(transparent)]
    ForeignPage(#[from] OriginError),
}

impl From<ServiceError> for SessionError {
    fn from(error: ServiceError) -> Self {
        Self::Key(error.into())
    }
}

impl From<SessionError> for Problem {
    fn from(error: SessionError) -> Self {
        match error {
            SessionError::Key(error) => error.into(),
            SessionError::ForeignPage(error) => error.into(),
        }
    }
}

impl AccountCaller {
    #[must_use]
    pub fn into_inner(self) -> model::Caller {
        self.caller
    }

    /// Returns the caller after checking the current password, if the request contains it.
    pub async fn confirmed(self, auth: &Data<Auth>, password: Option<SecretText>) -> Result<model::Caller, Problem> {
        let caller = self.caller;
        Ok(call(auth, move |auth| auth.confirm_password(caller, password.as_ref())).await?)
    }

    /// Returns the caller whose session is in the request's cookie. If the request may change something, also checks
    /// that it comes from a page of this server.
    pub async fn of_session(request: &HttpRequest) -> Result<Self, SessionError> {
        let secret = session_secret(request)?.ok_or(KeyError::Required)?;
        if !request.method().is_safe() {
            check_own_page(request)?;
        }
        let auth = auth(request);
        let Some(caller) = find_session(request, &secret).await? else {
            auth.log_rejected_key(&request_context(request));
            return Err(KeyError::Invalid.into());
        };
        if auth.is_extension_due(&caller) {
            let extended = caller.clone();
            // The request itself needs no write, so it must not fail if the database accepts none now.
            if let Err(error) = call(auth, move |auth| auth.extend_session(&extended)).await {
                log::debug!("extending a session failed and will be retried at its next use: {error}");
            }
        }
        let session = Some(secret);
        Ok(Self { caller, session })
    }
}

impl Deref for AccountCaller {
    type Target = model::Caller;

    fn deref(&self) -> &model::Caller {
        &self.caller
    }
}

impl FromRequest for AccountCaller {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        async move {
            if header_keys(&request).is_ok_and(|keys| keys.is_empty()) {
                return Ok(Self::of_session(&request).await?);
            }
            let caller = Caller::<InHeader>::extract(&request).await?.into_inner();
            Ok(Self { caller, session: None })
        }
        .boxed_local()
    }
}

/// The caller of a route that requires a session or a full key of an administrator.
pub struct AccountAdmin(AccountCaller);

impl AccountAdmin {
    /// See [`AccountCaller::confirmed`].
    pub async fn confirmed(self, auth: &Data<Auth>, password: Option<SecretText>) -> Result<model::Caller, Problem> {
        self.0.confirmed(auth, password).await
    }

    /// Returns the caller after checking the current password, if the body contains it.
    pub async fn confirmed_by(self, auth: &Data<Auth>, body: Body) -> Result<model::Caller, Problem> {
        let confirmation = json::object::<Confirmation>(body).await?;
        self.confirmed(auth, confirmation.password()).await
    }

    #[must_use]
    pub fn into_inner(self) -> model::Caller {
        self.0.into_inner()
    }
}

impl FromRequest for AccountAdmin {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let caller = AccountCaller::from_request(request, payload);
        let auth = auth(request).clone();
        async move {
            let caller = caller.await?;
            auth.require_admin(&caller)?;
            Ok(Self(caller))
        }
        .boxed_local()
    }
}
