//! The layout of every page, and the responses that contain pages.

use std::fmt;

use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_TYPE, LOCATION, RETRY_AFTER};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use askama::Template;
use chrono::NaiveDateTime;
use url::Host;

use super::notice::Notice;
use super::paging;
use super::reason::Reason;
use super::site::Site;
use super::texts::Texts;
use super::times::Moment;
use crate::account::cookie::{SECURE_NAME, is_https};
use crate::auth::Page;
use crate::error::{Cause, ServiceError};
use crate::web::caller::auth;
use crate::web::middleware::InternalCause;
use crate::web::origin::{forwarded_host, is_loopback};
use crate::web::query::Query;
use crate::web::security_headers;

/// The pages run only the script and use only the styles of this server. Forms are sent only to this server.
pub const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; base-uri 'none'; \
                               form-action 'self'; frame-ancestors 'none'";

/// The user who is signed in.
#[derive(Clone)]
pub struct PageUser {
    /// The name with escapes for invisible characters.
    pub name: String,
    pub is_admin: bool,
    /// The token that every form of this session contains.
    pub form_token: String,
}

/// How long the user has to wait.
pub struct WaitText {
    pub seconds: u64,
    pub text: String,
}

/// The layout of a page. Templates call it `p`.
#[derive(Clone)]
pub struct Layout {
    pub t: &'static Texts,
    pub site: Data<Site>,
    /// The path below `/account`.
    page: String,
    pub user: Option<PageUser>,
    /// Whether the browser's connection is not encrypted and leaves the machine.
    pub is_exposed: bool,
    pub notice: Option<Notice>,
    /// Why the request failed.
    pub reason: Option<Reason>,
    pub now: NaiveDateTime,
}

impl Layout {
    /// Creates the layout for a request. `user` is `None` if the request has no valid session.
    #[must_use]
    pub fn of(request: &HttpRequest, user: Option<PageUser>) -> Self {
        let site = request
            .app_data::<Data<Site>>()
            .expect("the server registers the site for every route")
            .clone();
        let code = Query::of(request);
        let notice = code.one(Notice::PARAMETER).ok().flatten().and_then(Notice::from_code);
        Self {
            t: site.texts,
            page: page_of(request, &site),
            site,
            user,
            is_exposed: is_exposed(request),
            notice,
            reason: None,
            now: auth(request).now(),
        }
    }

    /// Returns the path of a page below the base path.
    #[must_use]
    pub fn path(&self, page: &str) -> String {
        format!("{}/account/{page}", self.site.base_path.as_str())
    }

    /// Returns the path of the current page below `/account/`.
    #[must_use]
    pub fn page(&self) -> &str {
        &self.page
    }

    /// Returns the path of a file.
    #[must_use]
    pub fn file(&self, name: &str) -> String {
        self.path(&format!("files/{name}"))
    }

    /// Returns the attribute that marks the menu entry of the current page or of a page below it.
    #[must_use]
    pub fn current(&self, page: &str) -> &'static str {
        match self.page.strip_prefix(page) {
            Some("") => r#" aria-current="page""#,
            Some(rest) if rest.starts_with('/') && !page.is_empty() => r#" aria-current="true""#,
            _ => "",
        }
    }

    /// Returns the name of the user who is signed in, or an empty text without a session.
    #[must_use]
    pub fn user_name(&self) -> &str {
        self.user.as_ref().map_or("", |user| user.name.as_str())
    }

    /// Returns the text of the notice, if there is one.
    #[must_use]
    pub fn notice_text(&self) -> Option<&'static str> {
        self.notice.map(self.t.notice)
    }

    /// Returns how long the user has to wait before they repeat the request.
    #[must_use]
    pub fn wait(&self) -> Option<WaitText> {
        let seconds = self.reason.as_ref().and_then(Reason::wait)?;
        let text = self.t.wait.remaining.replace("{time}", &(self.t.wait.time)(seconds));
        Some(WaitText { seconds, text })
    }

    /// Returns the rules for new passwords.
    #[must_use]
    pub fn password_rules(&self) -> String {
        (self.t.password.rules)(self.site.min_password_chars)
    }

    /// Returns the token for a hidden field. Empty without a session.
    #[must_use]
    pub fn form_token(&self) -> &str {
        self.user.as_ref().map_or("", |user| user.form_token.as_str())
    }

    /// Returns a time to show on the page, relative to the time of the request.
    #[must_use]
    pub fn moment(&self, time: NaiveDateTime) -> Moment {
        Moment::new(time, self.now, self.t)
    }

    /// Returns the attributes that connect a field to its hint and, if the reason is about the field, to the reason.
    #[must_use]
    pub fn described(&self, field: &'static str, hint: Option<&'static str>) -> Described {
        let is_wrong = self.reason.as_ref().and_then(Reason::field) == Some(field);
        Described { hint, is_wrong }
    }

    /// Returns the layout of a page that shows why the request failed.
    #[must_use]
    pub fn with_reason(self, reason: Reason) -> Self {
        let reason = Some(reason);
        Self { reason, ..self }
    }

    /// Returns a page. Its status is 200, or that of the reason.
    #[must_use]
    pub fn show(&self, page: &impl Template) -> HttpResponse {
        self.document(page).response()
    }

    /// Returns a page that only shows why the request failed. If there is no session, redirects to the sign-in page
    /// instead.
    #[must_use]
    pub fn fail(self, reason: impl Into<Reason>) -> PageError {
        let reason = reason.into();
        if reason.is_signed_out() {
            let target = format!(
                "{}?{}={}",
                self.path("sign-in"),
                Notice::PARAMETER,
                Notice::SessionExpired.code()
            );
            return PageError(redirect_document(target));
        }
        let p = &self.with_reason(reason);
        PageError(p.document(&FailedPage { p }))
    }

    /// Returns a redirect to a page that shows a notice.
    #[must_use]
    pub fn redirect(&self, page: &str, notice: Notice) -> HttpResponse {
        let target = format!("{}?{}={}", self.path(page), Notice::PARAMETER, notice.code());
        redirect(target)
    }

    /// Returns a redirect to a page of a list, which shows a notice.
    #[must_use]
    pub fn redirect_to_list(&self, list: &str, page: Page, notice: Notice) -> HttpResponse {
        let query = paging::query(page);
        let separator = if query.is_empty() { "?" } else { "&" };
        let parameter = Notice::PARAMETER;
        redirect(format!(
            "{}{query}{separator}{parameter}={}",
            self.path(list),
            notice.code()
        ))
    }

    fn document(&self, page: &impl Template) -> Document {
        let reason = self.reason.as_ref();
        match page.render() {
            Ok(html) => Document {
                status: reason.map_or(StatusCode::OK, Reason::status),
                html,
                location: None,
                retry_after: reason.and_then(Reason::retry_after),
                cause: reason.and_then(Reason::cause),
            },
            Err(error) => {
                let reason = Reason::from(ServiceError::internal(error));
                Document {
                    status: reason.status(),
                    html: (self.t.reason)(&reason),
                    location: None,
                    retry_after: None,
                    cause: reason.cause(),
                }
            }
        }
    }
}

/// Returns the path of the requested page below `/account`.
fn page_of(request: &HttpRequest, site: &Site) -> String {
    let path = request.path();
    let below_base = path.get(site.base_path.as_str().len()..).unwrap_or_default();
    let page = below_base.strip_prefix("/account").unwrap_or_default();
    page.trim_start_matches('/').to_owned()
}

/// Returns whether other machines on the network can read the requests of the browser.
///
/// If neither a setting nor a trusted proxy says whether the connection is encrypted, the request shows it: browsers
/// send `Sec-Fetch-Site`, and cookies whose names begin with `__Host-`, only over https or to their own machine.
fn is_exposed(request: &HttpRequest) -> bool {
    let host = forwarded_host(request);
    let host = host.as_deref().and_then(|host| Host::parse(host).ok());
    let is_local = host.is_some_and(|host| match host {
        Host::Domain(name) => is_loopback(&Host::Domain(&name)),
        Host::Ipv4(address) => is_loopback(&Host::Ipv4(address)),
        Host::Ipv6(address) => is_loopback(&Host::Ipv6(address)),
    });
    let browser_says_so = || request.headers().contains_key("sec-fetch-site") || request.cookie(SECURE_NAME).is_some();
    !is_local && !is_https(request).unwrap_or_else(browser_says_so)
}

/// See [`Layout::described`].
pub struct Described {
    hint: Option<&'static str>,
    is_wrong: bool,
}

/// The attributes consist of constants.
impl askama::filters::HtmlSafe for Described {}

impl fmt::Display for Described {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.hint, self.is_wrong) {
            (None, false) => Ok(()),
            (Some(hint), false) => write!(f, r#" aria-describedby="{hint}""#),
            (None, true) => f.write_str(r#" aria-invalid="true" aria-describedby="reason""#),
            (Some(hint), true) => write!(f, r#" aria-invalid="true" aria-describedby="reason {hint}""#),
        }
    }
}

#[derive(Template)]
#[template(path = "account/failed.html")]
struct FailedPage<'a> {
    p: &'a Layout,
}

/// A page, or a redirect to one.
#[derive(Debug)]
struct Document {
    status: StatusCode,
    html: String,
    location: Option<String>,
    retry_after: Option<u64>,
    cause: Option<Cause>,
}

impl Document {
    fn response(&self) -> HttpResponse {
        let mut response = HttpResponse::build(self.status);
        if let Some(location) = &self.location {
            response.insert_header((LOCATION, location.as_str()));
        }
        if let Some(seconds) = self.retry_after {
            response.insert_header((RETRY_AFTER, seconds));
        }
        response.insert_header((CONTENT_TYPE, "text/html; charset=utf-8"));
        let mut response = response.body(self.html.clone());
        if let Some(cause) = &self.cause {
            response.extensions_mut().insert(InternalCause(cause.clone()));
        }
        security_headers::Page::Private(PAGE_POLICY.into()).mark(&mut response);
        response
    }
}

fn redirect_document(location: String) -> Document {
    Document {
        status: StatusCode::SEE_OTHER,
        html: String::new(),
        location: Some(location),
        retry_after: None,
        cause: None,
    }
}

/// Returns a redirect. After a form, the browser then loads the page with GET.
#[must_use]
pub fn redirect(location: String) -> HttpResponse {
    redirect_document(location).response()
}

/// The response to a request that cannot be served: a page that explains why, or a redirect to the sign-in page.
#[derive(Debug)]
pub struct PageError(Document);

impl PageError {
    #[must_use]
    pub fn redirect(location: String) -> Self {
        Self(redirect_document(location))
    }
}

impl fmt::Display for PageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.status)
    }
}

impl ResponseError for PageError {
    fn status_code(&self) -> StatusCode {
        self.0.status
    }

    fn error_response(&self) -> HttpResponse {
        self.0.response()
    }
}

/// The result of a handler: a page, or the response to a request that cannot be served.
pub type PageResult = Result<HttpResponse, PageError>;
