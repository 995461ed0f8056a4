//! One user, for administrators: the user's devices, and changes. Every change needs the administrator's password.

use actix_web::web::{Data, Path};
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;

use super::devices::{CurrentKey, KeyCard};
use super::form::Fields;
use super::issued_link::issued_link;
use super::layout::{Layout, PageError, PageResult, redirect};
use super::notice::Notice;
use super::paging::{self, Pager};
use super::reason::{Reason, field};
use super::users::UserCard;
use super::visit::{AdminForm, AdminVisit, Visitor};
use crate::account::AccountUrls;
use crate::auth::{Auth, KeySelection, Page};
use crate::error::ManageError;
use crate::model::{Caller, Update, UserRef, UserUpdate};
use crate::web::call;
use crate::web::query::Query;

#[derive(Template)]
#[template(path = "account/user.html")]
struct UserPage<'a> {
    p: &'a Layout,
    user: UserCard,
    /// The values in the form: those that the administrator has typed, or the user's current ones.
    name: String,
    email: String,
    is_admin: bool,
    is_disabled: bool,
    keys: Vec<KeyCard>,
    pager: Pager,
}

#[derive(Template)]
#[template(path = "account/delete-user.html")]
struct DeletePage<'a> {
    p: &'a Layout,
    user: UserCard,
}

/// Shows a user and the user's devices.
pub async fn show(auth: Data<Auth>, visit: AdminVisit, id: Path<String>, query: Query) -> PageResult {
    let user_id = user_id(&id, &visit.0.layout)?;
    user_page(
        &auth,
        visit.0.layout,
        visit.0.caller,
        user_id,
        paging::page(&query),
        None,
    )
    .await
}

/// Changes the user. Writes only the values that the form has changed, so a concurrent change is not undone.
pub async fn update(auth: Data<Auth>, form: AdminForm, id: Path<String>) -> PageResult {
    let user_id = user_id(&id, &form.0.layout)?;
    let update = match changes(&form.0.fields) {
        Ok(update) => update,
        Err(reason) => return again(&auth, form, user_id, reason).await,
    };
    let change = move |auth: &Auth, admin: &Caller| auth.update_user(admin.into(), user_id, &update).map(drop);
    run(&auth, form, user_id, Notice::UserChanged, change).await
}

/// Clears the user's failed logins.
pub async fn unlock(auth: Data<Auth>, form: AdminForm, id: Path<String>) -> PageResult {
    let user_id = user_id(&id, &form.0.layout)?;
    let change = move |auth: &Auth, admin: &Caller| auth.unlock(admin.into(), &UserRef::Id(user_id));
    run(&auth, form, user_id, Notice::UserUnlocked, change).await
}

/// Revokes all keys and sessions of the user. Succeeds even if the user has none.
pub async fn revoke_keys(auth: Data<Auth>, form: AdminForm, id: Path<String>) -> PageResult {
    let user_id = user_id(&id, &form.0.layout)?;
    let (user, device) = (UserRef::Id(user_id), None);
    let all = KeySelection::User { user, device };
    let change = move |auth: &Auth, admin: &Caller| auth.revoke_keys(admin.into(), &all).map(drop);
    run(&auth, form, user_id, Notice::UserSignedOut, change).await
}

/// Revokes one key or session of the user. Succeeds even if the key has already been revoked.
pub async fn revoke_key(auth: Data<Auth>, form: AdminForm, ids: Path<(String, String)>) -> PageResult {
    let (id, key) = ids.into_inner();
    let user_id = user_id(&id, &form.0.layout)?;
    let Ok(key_id) = key.parse() else {
        return Err(form.0.layout.fail(Reason::UnknownPage));
    };
    let change = move |auth: &Auth, admin: &Caller| auth.revoke_key_of_user(admin.into(), user_id, key_id);
    run(&auth, form, user_id, Notice::DeviceSignedOut, change).await
}

/// Issues a one-time link and shows it.
pub async fn issue_link(
    auth: Data<Auth>,
    form: AdminForm,
    urls: Data<AccountUrls>,
    request: HttpRequest,
    id: Path<String>,
) -> PageResult {
    let user_id = user_id(&id, &form.0.layout)?;
    let issue = move |auth: &Auth, admin: &Caller| auth.issue_link(admin.into(), &UserRef::Id(user_id));
    match confirmed(&auth, &form, issue).await {
        Ok(link) => Ok(issued_link(&form.0.layout, &urls, &request, &link)),
        Err(reason) => again(&auth, form, user_id, reason).await,
    }
}

/// Leads a browser that opens the address of a form to the user whose page contains the form.
pub async fn redirect_to_user(visitor: Visitor, request: HttpRequest) -> PageResult {
    let user_id = user_id(request.match_info().query("id"), &visitor.0)?;
    Ok(redirect(visitor.0.path(&format!("users/{user_id}"))))
}

/// Shows the page that confirms the deletion of the user.
pub async fn show_delete(auth: Data<Auth>, visit: AdminVisit, id: Path<String>) -> PageResult {
    let user_id = user_id(&id, &visit.0.layout)?;
    delete_page(&auth, visit.0.layout, user_id).await
}

/// Deletes the user.
pub async fn delete(auth: Data<Auth>, form: AdminForm, id: Path<String>) -> PageResult {
    let user_id = user_id(&id, &form.0.layout)?;
    let deletion = move |auth: &Auth, admin: &Caller| auth.delete_user(admin.into(), &UserRef::Id(user_id));
    match confirmed(&auth, &form, deletion).await {
        Ok(()) => Ok(form.0.layout.redirect("users", Notice::UserDeleted)),
        Err(reason) => delete_page(&auth, form.0.again(reason)?.0, user_id).await,
    }
}

/// Checks the administrator's password and runs a change.
async fn confirmed<T: Send + 'static>(
    auth: &Data<Auth>,
    form: &AdminForm,
    change: impl FnOnce(&Auth, &Caller) -> Result<T, ManageError> + Send + 'static,
) -> Result<T, Reason> {
    let admin = form.0.confirmed(auth).await?;
    Ok(call(auth, move |auth| change(auth, &admin)).await?)
}

/// Runs a change and redirects to the user. If the change fails, shows the form again.
async fn run(
    auth: &Data<Auth>,
    form: AdminForm,
    user_id: i32,
    notice: Notice,
    change: impl FnOnce(&Auth, &Caller) -> Result<(), ManageError> + Send + 'static,
) -> PageResult {
    match confirmed(auth, &form, change).await {
        Ok(()) | Err(Reason::Manage(ManageError::UnknownKey)) => {
            Ok(form.0.layout.redirect(&format!("users/{user_id}"), notice))
        }
        Err(reason) => again(auth, form, user_id, reason).await,
    }
}

async fn again(auth: &Data<Auth>, form: AdminForm, user_id: i32, reason: Reason) -> PageResult {
    let (page, caller) = (paging::page(&Query::default()), form.0.caller.clone());
    let (layout, fields) = form.0.again(reason)?;
    user_page(auth, layout, caller, user_id, page, Some(fields)).await
}

/// Returns the page of a user, whose form contains `typed` if it is shown again.
async fn user_page(
    auth: &Data<Auth>,
    p: Layout,
    caller: Caller,
    user_id: i32,
    page: Page,
    typed: Option<Fields>,
) -> PageResult {
    let current = CurrentKey::from(&caller);
    let found = call(auth, move |auth| -> Result<_, ManageError> {
        let keys = auth.keys_page(&caller, user_id, page)?;
        Ok((auth.listed_user(user_id)?, keys))
    });
    let (listed, (keys, total)) = match found.await {
        Ok(found) => found,
        Err(error) => return Err(p.fail(error)),
    };
    let user = UserCard::new(listed, &p);
    // The forms of the other buttons contain these fields as well.
    let typed = typed.as_ref();
    Ok(p.show(&UserPage {
        name: typed.map_or(&*user.name, |typed| typed.text(field::USER)).to_owned(),
        email: typed
            .map_or(user.email.as_deref().unwrap_or_default(), |typed| {
                typed.text(field::EMAIL)
            })
            .to_owned(),
        is_admin: typed.map_or(user.is_admin, |typed| typed.is_filled("admin")),
        is_disabled: typed.map_or(user.is_disabled, |typed| typed.is_filled("disabled")),
        keys: keys.into_iter().map(|key| KeyCard::new(key, current, &p)).collect(),
        pager: Pager::new(&p, &[], page, total),
        user,
        p: &p,
    }))
}

async fn delete_page(auth: &Data<Auth>, p: Layout, user_id: i32) -> Result<HttpResponse, PageError> {
    match call(auth, move |auth| auth.listed_user(user_id)).await {
        Ok(user) => Ok(p.show(&DeletePage {
            user: UserCard::new(user, &p),
            p: &p,
        })),
        Err(error) => Err(p.fail(error)),
    }
}

fn user_id(id: &str, p: &Layout) -> Result<i32, PageError> {
    id.parse().map_err(|_| p.clone().fail(Reason::UnknownPage))
}

/// Returns the changes in the form. It contains each value twice: as it was, and as it is now.
fn changes(fields: &Fields) -> Result<UserUpdate, Reason> {
    let is_changed = |name: &str| fields.text(name) != fields.text(&format!("was-{name}"));
    let email = match (is_changed(field::EMAIL), fields.is_filled(field::EMAIL)) {
        (false, _) => Update::Keep,
        (true, false) => Update::Remove,
        (true, true) => Update::Set(fields.new_name(field::EMAIL)?),
    };
    Ok(UserUpdate {
        name: is_changed(field::USER)
            .then(|| fields.new_name(field::USER))
            .transpose()?,
        email,
        is_admin: is_changed("admin").then(|| fields.is_filled("admin")),
        is_disabled: is_changed("disabled").then(|| fields.is_filled("disabled")),
    })
}
