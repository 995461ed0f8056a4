//! Zulip's authentication: HTTP Basic with the user's name or e-mail address, and the key as the password.

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::error::ZulipError;
use crate::auth::Auth;
use crate::error::KeyError;
use crate::model::{self, Acceptance, User, normalize};
use crate::secret::key::Key;
use crate::web::basic::Basic;
use crate::web::call;
use crate::web::caller::{Caller, Dialect, Keys};
use crate::web::origin::check_origin;

/// Zulip's wire protocol.
pub struct Zulip;

impl Dialect for Zulip {
    type Error = ZulipError;

    fn presented_keys(request: &HttpRequest) -> Result<Keys, ZulipError> {
        match credentials(request)? {
            Some((_, key)) => Ok(Keys::from_iter([key])),
            None => Ok(Keys::new()),
        }
    }

    fn acceptance(_: &HttpRequest) -> Acceptance {
        Acceptance::FullKeys
    }

    /// If the key belongs to a disabled user, reports that the user is disabled, as Zulip does.
    async fn rejection(auth: &Data<Auth>, keys: Keys) -> ZulipError {
        let is_disabled = move |auth: &Auth| match keys.first() {
            Some(key) => auth.is_key_of_disabled_user(key),
            None => Ok(false),
        };
        match call(auth, is_disabled).await {
            Ok(true) => ZulipError::unauthorized("Account is deactivated"),
            Ok(false) => KeyError::Invalid.into(),
            Err(error) => error.into(),
        }
    }
}

/// A caller whose key belongs to the user named in the request.
pub struct ZulipCaller {
    pub caller: model::Caller,
    pub user: User,
}

impl FromRequest for ZulipCaller {
    type Error = ZulipError;
    type Future = LocalBoxFuture<'static, Result<Self, ZulipError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        // Browsers cache HTTP Basic credentials and add them to the requests of foreign pages.
        let checked = check_origin(request);
        let caller = Caller::<Zulip>::from_request(request, payload);
        let auth = Data::<Auth>::from_request(request, payload);
        let name = credentials(request);
        async move {
            let auth = auth.await.expect("the server registers the service for every route");
            let caller = caller.await;
            if let Err(error) = checked {
                // The response reveals nothing about the key to the page.
                if let Ok(caller) = caller {
                    auth.log_denied_access(&caller);
                }
                return Err(error.into());
            }
            let caller = caller?.into_inner();
            let (name, _) = name?.ok_or(KeyError::Required)?;
            let own_user = move |auth: &Auth| auth.own_user(&caller).map(|user| Self { caller, user });
            let found = call(&auth, own_user).await?;
            let is_named = |text: &str| normalize(text) == name;
            if is_named(&found.user.name) || found.user.email.as_deref().is_some_and(is_named) {
                Ok(found)
            } else {
                auth.log_rejected_key(&found.caller.context);
                Err(KeyError::Invalid.into())
            }
        }
        .boxed_local()
    }
}

/// Returns the normalized name and the key that a request presents, or `None` if it presents none.
fn credentials(request: &HttpRequest) -> Result<Option<(String, Key)>, ZulipError> {
    let malformed = || ZulipError::unauthorized("Invalid authorization header for basic auth");
    let text = match Basic::of(request.headers()) {
        Basic::Decoded(text) => text,
        Basic::Missing => return Ok(None),
        Basic::Malformed => return Err(malformed()),
        Basic::OtherScheme => {
            return Err(ZulipError::bad_request(
                "This endpoint requires HTTP basic authentication.",
            ));
        }
    };
    let (name, key) = text.split_once(':').ok_or_else(malformed)?;
    let key = key.trim();
    if key.contains(':') {
        return Err(malformed());
    }
    if key.len() != 32 || !key.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(ZulipError::unauthorized("Malformed API key"));
    }
    Ok(Some((normalize(name), Key::parse(key).ok_or(KeyError::Invalid)?)))
}
