//! The form for signing in, and signing out.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::destination::{Destination, go_on};
use super::form::Fields;
use super::layout::{Layout, PageResult, redirect};
use super::notice::Notice;
use super::reason::{Reason, field};
use super::visit::{SignedForm, SignedIn, Visitor, VisitorForm};
use crate::account::cookie;
use crate::account::session::user_agent;
use crate::auth::{Auth, NewSession, SignIn};
use crate::web::call;
use crate::web::gateway_cookie::sign_in_domain;
use crate::web::query::Query;

#[derive(Template)]
#[template(path = "account/sign-in.html")]
struct SignInPage<'a> {
    p: &'a Layout,
    user: &'a str,
    destination: &'a Destination,
}

fn form(p: &Layout, user: &str, destination: &Destination, request: &HttpRequest) -> HttpResponse {
    let mut response = p.show(&SignInPage { p, user, destination });
    destination.allow_redirect(&mut response, request);
    response
}

/// Shows the form. A browser that is signed in goes on to the return address.
pub async fn show(
    auth: Data<Auth>,
    visitor: Visitor,
    signed_in: Option<SignedIn>,
    query: Query,
    request: HttpRequest,
) -> PageResult {
    let p = visitor.0;
    let destination = Destination::of_query(&query, &p.site.base_path, &request);
    match signed_in {
        Some(visit) => go_on(&auth, visit, &destination, &query, &request).await,
        None => Ok(form(&p, "", &destination, &request)),
    }
}

/// Signs in.
pub async fn sign_in(auth: Data<Auth>, form: VisitorForm, request: HttpRequest) -> HttpResponse {
    let user = form.fields.text(field::USER).to_owned();
    let destination = Destination::of_form(&form.fields, &form.layout.site.base_path, &request);
    let context = form.context.clone();
    let session = match sign_in_of(&form.fields, &request) {
        Ok(sign_in) => call(&auth, move |auth| auth.sign_in(&sign_in, &context))
            .await
            .map_err(Reason::from),
        Err(reason) => Err(reason),
    };
    match session {
        Ok(session) => with_session(redirect(destination.target(&form.layout)), &request, &session),
        Err(reason) => self::form(&form.again(reason), &user, &destination, &request),
    }
}

/// Signs out: revokes the session and deletes the cookie.
pub async fn sign_out(auth: Data<Auth>, form: SignedForm, request: HttpRequest) -> PageResult {
    let SignedForm { caller, layout, .. } = form;
    match call(&auth, move |auth| auth.revoke_own_key(&caller)).await {
        Ok(()) => Ok(signed_out(&layout, &request)),
        Err(error) => Err(layout.fail(error)),
    }
}

fn sign_in_of(fields: &Fields, request: &HttpRequest) -> Result<SignIn, Reason> {
    Ok(SignIn {
        user: fields.name(field::USER)?,
        password: fields.secret("password"),
        user_agent: user_agent(request),
        // An invalid cookie belongs to no session, so there is nothing to revoke.
        replaced: cookie::session_secret(request).unwrap_or_default(),
        gateway: sign_in_domain(request).map(|domain| domain.domain().clone()),
    })
}

/// Adds the cookies of a new session to a response.
pub fn with_session(mut response: HttpResponse, request: &HttpRequest, session: &NewSession) -> HttpResponse {
    cookie::add(&mut response, request, session);
    response
}

/// Returns a redirect to the sign-in page that deletes the cookies.
pub fn signed_out(layout: &Layout, request: &HttpRequest) -> HttpResponse {
    let mut response = layout.redirect("sign-in", Notice::SignedOut);
    cookie::delete(&mut response, request);
    response
}
