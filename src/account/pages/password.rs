//! The form in which users change their own password.

use actix_web::HttpRequest;
use actix_web::web::Data;
use askama::Template;

use super::layout::{Layout, PageResult};
use super::notice::Notice;
use super::reason::Reason;
use super::sign_in::{signed_out, with_session};
use super::visit::{SignedForm, SignedIn};
use crate::auth::{Auth, NewSession};
use crate::web::call;
use crate::web::gateway_cookie::sign_in_domain;

#[derive(Template)]
#[template(path = "account/password.html")]
struct PasswordPage<'a> {
    p: &'a Layout,
}

/// Shows the form.
pub async fn show(visit: SignedIn) -> PageResult {
    let p = &visit.layout;
    Ok(p.show(&PasswordPage { p }))
}

/// Changes the password. This browser stays signed in with a new session.
pub async fn change(auth: Data<Auth>, form: SignedForm, request: HttpRequest) -> PageResult {
    match changed(&auth, &form, &request).await {
        Ok(Some(session)) => {
            let response = form.layout.redirect("password", Notice::PasswordChanged);
            Ok(with_session(response, &request, &session))
        }
        Ok(None) => Ok(signed_out(&form.layout, &request)),
        Err(reason) => {
            let (p, _) = form.again(reason)?;
            Ok(p.show(&PasswordPage { p: &p }))
        }
    }
}

async fn changed(auth: &Data<Auth>, form: &SignedForm, request: &HttpRequest) -> Result<Option<NewSession>, Reason> {
    let new = form.fields.new_password()?;
    let caller = form.confirmed(auth).await?;
    let gateway = sign_in_domain(request).map(|domain| domain.domain().clone());
    let changed = call(auth, move |auth| {
        auth.change_own_password(&caller, &new, gateway.as_ref())
    });
    Ok(changed.await?)
}
