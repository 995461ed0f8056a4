//! Sign in and sign out.

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::form::Fields;
use super::layout::{Layout, PageResult, redirect};
use super::notice::Notice;
use super::reason::{Reason, field};
use super::return_path::ReturnPath;
use super::visit::{SignedForm, SignedIn, Visitor, VisitorForm};
use crate::account::cookie;
use crate::account::session::user_agent;
use crate::auth::{Auth, NewSession, SignIn};
use crate::web::call;
use crate::web::query::Query;

/// The name of the return address in the query and in the form.
pub const RETURN: &str = "return";

#[derive(Template)]
#[template(path = "account/sign-in.html")]
struct SignInPage<'a> {
    p: &'a Layout,
    user: &'a str,
    return_path: Option<ReturnPath>,
}

/// Shows the form. A browser that is signed in goes on to the return address.
pub async fn show(visitor: Visitor, signed_in: Option<SignedIn>, query: Query) -> HttpResponse {
    let p = visitor.0;
    let return_path = return_path(&p, query.one(RETURN).ok().flatten().unwrap_or_default());
    if signed_in.is_some() {
        return redirect(target(&p, return_path));
    }
    let user = "";
    p.show(&SignInPage {
        p: &p,
        user,
        return_path,
    })
}

/// Signs in.
pub async fn sign_in(auth: Data<Auth>, form: VisitorForm, request: HttpRequest) -> HttpResponse {
    let user = form.fields.text(field::USER).to_owned();
    let return_path = return_path(&form.layout, form.fields.text(RETURN));
    let context = form.context.clone();
    let session = match sign_in_of(&form.fields, &request) {
        Ok(sign_in) => call(&auth, move |auth| auth.sign_in(&sign_in, &context))
            .await
            .map_err(Reason::from),
        Err(reason) => Err(reason),
    };
    match session {
        Ok(session) => with_session(redirect(target(&form.layout, return_path)), &request, &session),
        Err(reason) => {
            let p = form.again(reason);
            p.show(&SignInPage {
                p: &p,
                user: &user,
                return_path,
            })
        }
    }
}

/// Signs out: revokes the session and deletes the cookie.
pub async fn sign_out(auth: Data<Auth>, form: SignedForm) -> PageResult {
    let SignedForm { caller, layout, .. } = form;
    match call(&auth, move |auth| auth.revoke_own_key(&caller)).await {
        Ok(()) => Ok(signed_out(&layout)),
        Err(error) => Err(layout.fail(error)),
    }
}

fn sign_in_of(fields: &Fields, request: &HttpRequest) -> Result<SignIn, Reason> {
    Ok(SignIn {
        user: fields.name(field::USER)?,
        password: fields.secret("password"),
        user_agent: user_agent(request),
        // A cookie that cannot be a session has none to end.
        replaced: cookie::session_secret(request).unwrap_or_default(),
    })
}

fn return_path(p: &Layout, text: &str) -> Option<ReturnPath> {
    ReturnPath::parse(text, &p.site.base_path)
}

/// Returns where a sign-in leads: to the return address, or to the devices.
fn target(p: &Layout, return_path: Option<ReturnPath>) -> String {
    return_path.map_or_else(|| p.path(""), |path| path.as_str().to_owned())
}

/// Adds the cookie of a new session to a response.
pub fn with_session(mut response: HttpResponse, request: &HttpRequest, session: &NewSession) -> HttpResponse {
    let (name, value) = cookie::store(request, &session.secret, session.ends_at - session.created_at);
    response.headers_mut().append(name, value);
    response
}

/// Returns a redirect to the sign-in that deletes the cookie.
pub fn signed_out(layout: &Layout) -> HttpResponse {
    let mut response = layout.redirect("sign-in", Notice::SignedOut);
    for (name, value) in cookie::delete() {
        response.headers_mut().append(name, value);
    }
    response
}
