//! Extractors of the pages. Each stands for a right, so the signature of a handler shows what its page requires.
//!
//! A form extractor has checked that the request comes from a page of this server and contains the form token of the
//! session.

use actix_web::dev::Payload;
use actix_web::http::uri::PathAndQuery;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use futures_util::FutureExt;
use futures_util::future::LocalBoxFuture;

use super::form::Fields;
use super::layout::{Layout, PageError, PageUser};
use super::notice::Notice;
use super::reason::{Reason, field};
use super::return_path::ReturnPath;
use crate::account::caller::{AccountCaller, SessionError};
use crate::auth::Auth;
use crate::error::KeyError;
use crate::model::{Caller, RequestContext, escape_invisible};
use crate::secret::token::SessionSecret;
use crate::web::address::request_context;
use crate::web::body::Body;
use crate::web::call;
use crate::web::caller::auth;
use crate::web::origin::check_own_page;

/// A request for a page that needs no session.
pub struct Visitor(pub Layout);

impl FromRequest for Visitor {
    type Error = PageError;
    type Future = std::future::Ready<Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        std::future::ready(Ok(Self(Layout::of(request, None))))
    }
}

/// A form that needs no session.
///
/// There is no session to which a form token could belong. It is enough to check that the request comes from a page of
/// this server: a client that knows the password or the link needs no session.
pub struct VisitorForm {
    pub context: RequestContext,
    pub layout: Layout,
    pub fields: Fields,
}

impl VisitorForm {
    /// Returns the layout of a page that shows the form again with the reason why it failed.
    #[must_use]
    pub fn again(self, reason: Reason) -> Layout {
        self.layout.with_reason(reason)
    }
}

impl FromRequest for VisitorForm {
    type Error = PageError;
    type Future = LocalBoxFuture<'static, Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, body) = (request.clone(), Body::from_request(request, payload));
        async move {
            let layout = Layout::of(&request, None);
            if let Err(error) = check_own_page(&request) {
                return Err(layout.fail(error));
            }
            let Ok(body) = body.await;
            let context = request_context(&request);
            match Fields::read(body).await {
                Ok(fields) => Ok(Self {
                    context,
                    layout,
                    fields,
                }),
                Err(reason) => Err(layout.fail(reason)),
            }
        }
        .boxed_local()
    }
}

/// A request with a session. Without one, the browser is redirected to the sign-in page and returns afterwards.
pub struct SignedIn {
    pub caller: Caller,
    pub layout: Layout,
}

async fn signed_in(request: &HttpRequest) -> Result<(SignedIn, SessionSecret), PageError> {
    let found = AccountCaller::of_session(request).await;
    let error = match found {
        Ok(mut caller) => match caller.session.take() {
            Some(session) => {
                let caller = caller.into_inner();
                let user = PageUser {
                    name: escape_invisible(&caller.holder.user).into_owned(),
                    is_admin: caller.holder.is_admin,
                    form_token: session.form_token(),
                };
                let layout = Layout::of(request, Some(user));
                return Ok((SignedIn { caller, layout }, session));
            }
            None => SessionError::Key(KeyError::Required),
        },
        Err(error) => error,
    };
    let layout = Layout::of(request, None);
    match error {
        SessionError::Key(KeyError::Required) => Err(to_sign_in(request, &layout, None)),
        SessionError::Key(KeyError::Invalid) => Err(to_sign_in(request, &layout, Some(Notice::SessionExpired))),
        SessionError::Key(error @ KeyError::Service(_)) => Err(layout.fail(error)),
        SessionError::ForeignPage(error) => Err(layout.fail(error)),
    }
}

/// Returns a redirect to the sign-in page, from which the browser returns to the requested page.
fn to_sign_in(request: &HttpRequest, layout: &Layout, notice: Option<Notice>) -> PageError {
    let requested = request.uri().path_and_query().map(PathAndQuery::as_str);
    let requested = requested.filter(|_| request.method().is_safe());
    let return_path = requested.and_then(|path| ReturnPath::parse(path, &layout.site.base_path));
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    if let Some(path) = &return_path {
        query.append_pair("return", path.as_str());
    }
    if let Some(notice) = notice {
        query.append_pair(Notice::PARAMETER, notice.code());
    }
    let query = query.finish();
    let mark = if query.is_empty() { "" } else { "?" };
    PageError::redirect(format!("{}{mark}{query}", layout.path("sign-in")))
}

impl FromRequest for SignedIn {
    type Error = PageError;
    type Future = LocalBoxFuture<'static, Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        async move { signed_in(&request).await.map(|(signed_in, _)| signed_in) }.boxed_local()
    }
}

/// A request with a session of an administrator.
pub struct AdminVisit(pub SignedIn);

impl FromRequest for AdminVisit {
    type Error = PageError;
    type Future = LocalBoxFuture<'static, Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (visit, auth) = (SignedIn::from_request(request, payload), auth(request).clone());
        async move {
            let visit = visit.await?;
            match auth.require_admin(&visit.caller) {
                Ok(()) => Ok(Self(visit)),
                Err(error) => Err(visit.layout.fail(error)),
            }
        }
        .boxed_local()
    }
}

/// A form of a session of an administrator.
pub struct AdminForm(pub SignedForm);

impl FromRequest for AdminForm {
    type Error = PageError;
    type Future = LocalBoxFuture<'static, Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (form, auth) = (SignedForm::from_request(request, payload), auth(request).clone());
        async move {
            let form = form.await?;
            match auth.require_admin(&form.caller) {
                Ok(()) => Ok(Self(form)),
                Err(error) => Err(form.layout.fail(error)),
            }
        }
        .boxed_local()
    }
}

/// A form of a session.
pub struct SignedForm {
    pub caller: Caller,
    pub layout: Layout,
    pub fields: Fields,
}

impl SignedForm {
    /// Returns the caller after checking the current password, if the form contains it.
    pub async fn confirmed(&self, auth: &Data<Auth>) -> Result<Caller, Reason> {
        let (caller, password) = (self.caller.clone(), self.fields.secret(field::CURRENT_PASSWORD));
        let password = Some(password).filter(|password| !password.expose().is_empty());
        Ok(call(auth, move |auth| auth.confirm_password(caller, password.as_ref())).await?)
    }

    /// Returns the layout of a page that shows the form again with the reason why it failed. If the session has ended,
    /// redirects to the sign-in page instead.
    pub fn again(self, reason: Reason) -> Result<(Layout, Fields), PageError> {
        if reason.is_signed_out() {
            return Err(self.layout.fail(reason));
        }
        Ok((self.layout.with_reason(reason), self.fields))
    }
}

impl FromRequest for SignedForm {
    type Error = PageError;
    type Future = LocalBoxFuture<'static, Result<Self, PageError>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let (request, body) = (request.clone(), Body::from_request(request, payload));
        async move {
            let (SignedIn { caller, layout }, session) = signed_in(&request).await?;
            let Ok(body) = body.await;
            let fields = match Fields::read(body).await {
                Ok(fields) => fields,
                Err(reason) => return Err(layout.fail(reason)),
            };
            if !session.is_form_token(fields.text("token")) {
                return Err(layout.fail(Reason::WrongFormToken));
            }
            Ok(Self { caller, layout, fields })
        }
        .boxed_local()
    }
}
