//! The page of a one-time link, on which its user chooses a password. Opening it does not use up the link.

use actix_web::web::{Data, Path};
use askama::Template;

use super::layout::{Layout, PageResult};
use super::notice::Notice;
use super::reason::Reason;
use super::visit::{Visitor, VisitorForm};
use crate::auth::Auth;
use crate::error::LinkError;
use crate::secret::token::LinkToken;
use crate::web::call;

#[derive(Template)]
#[template(path = "account/link.html")]
struct LinkPage<'a> {
    p: &'a Layout,
    user: String,
    token: String,
}

/// Shows the form.
pub async fn show(auth: Data<Auth>, visitor: Visitor, token: Path<String>) -> PageResult {
    link_page(&auth, visitor.0, &token).await
}

/// Sets the password and uses up the link. A rejected password does not use it up.
pub async fn set_password(auth: Data<Auth>, form: VisitorForm, token: Path<String>) -> PageResult {
    match password_set(&auth, &form, &token).await {
        Ok(()) => Ok(form.layout.redirect("sign-in", Notice::PasswordSet)),
        Err(reason @ Reason::Link(LinkError::Unknown)) => Err(form.layout.fail(reason)),
        Err(reason) => link_page(&auth, form.again(reason), &token).await,
    }
}

async fn password_set(auth: &Data<Auth>, form: &VisitorForm, token: &str) -> Result<(), Reason> {
    let token = LinkToken::parse(token).ok_or(LinkError::Unknown)?;
    let (password, context) = (form.fields.new_password()?, form.context.clone());
    let set = call(auth, move |auth| {
        auth.set_password_with_link(&token, &password, &context)
    });
    Ok(set.await.map(drop)?)
}

async fn link_page(auth: &Data<Auth>, p: Layout, token: &str) -> PageResult {
    let Some(parsed) = LinkToken::parse(token) else {
        return Err(p.fail(LinkError::Unknown));
    };
    let token = parsed.expose();
    match call(auth, move |auth| auth.user_of_link(&parsed)).await {
        Ok(user) => Ok(p.show(&LinkPage { p: &p, user, token })),
        Err(error) => Err(p.fail(error)),
    }
}
