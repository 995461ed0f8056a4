//! The list of users, and new users, for administrators.

use actix_web::HttpRequest;
use actix_web::web::Data;
use askama::Template;

use super::form::Fields;
use super::issued_link::issued_link;
use super::layout::{Layout, PageResult};
use super::paging::{self, Pager};
use super::reason::{Reason, field};
use super::times::Moment;
use super::visit::{AdminForm, AdminVisit};
use crate::account::AccountUrls;
use crate::auth::{Auth, ListedUser, NewLink};
use crate::model::{NewUser, ProfileChange, escape_invisible};
use crate::web::call;
use crate::web::query::Query;

/// The maximum length of a search text in characters. No name is longer.
const MAX_SEARCH_CHARS: usize = 255;

/// A user in a list.
pub struct UserCard {
    pub id: i32,
    /// The name with escapes for invisible characters, which older versions accepted.
    pub title: String,
    pub name: String,
    pub email: Option<String>,
    pub is_admin: bool,
    pub is_disabled: bool,
    pub has_password: bool,
    pub created: Moment,
    pub throttled_until: Option<Moment>,
}

impl UserCard {
    #[must_use]
    pub fn new(listed: ListedUser, p: &Layout) -> Self {
        let user = listed.user;
        Self {
            id: user.id,
            title: escape_invisible(&user.name).into_owned(),
            name: user.name,
            email: user.email,
            is_admin: user.is_admin,
            is_disabled: user.is_disabled,
            has_password: user.has_password,
            created: p.moment(user.created_at),
            throttled_until: listed.throttled_until.map(|time| p.moment(time)),
        }
    }
}

#[derive(Template)]
#[template(path = "account/users.html")]
struct UsersPage<'a> {
    p: &'a Layout,
    search: &'a str,
    users: Vec<UserCard>,
    pager: Pager,
}

/// Lists the users whose name or e-mail address contains the search text.
pub async fn list(auth: Data<Auth>, visit: AdminVisit, query: Query) -> PageResult {
    let (p, page) = (visit.0.layout, paging::page(&query));
    let search = query.one("search").ok().flatten().unwrap_or_default();
    let search: String = search.chars().take(MAX_SEARCH_CHARS).collect();
    let searched = search.clone();
    let found = call(&auth, move |auth| auth.users_page(&searched, page)).await;
    let (users, total) = match found {
        Ok(found) => found,
        Err(error) => return Err(p.fail(error)),
    };
    let users = users.into_iter().map(|user| UserCard::new(user, &p)).collect();
    let pager = Pager::new(&p, &[("search", &search)], page, total);
    let (p, search) = (&p, search.as_str());
    Ok(p.show(&UsersPage {
        p,
        search,
        users,
        pager,
    }))
}

#[derive(Template)]
#[template(path = "account/new-user.html")]
struct NewUserPage<'a> {
    p: &'a Layout,
    name: &'a str,
    email: &'a str,
    is_admin: bool,
}

/// Shows the form for a new user.
pub async fn show_new(visit: AdminVisit) -> PageResult {
    Ok(new_user_page(&visit.0.layout, &Fields::default()))
}

/// Creates a user and shows the link with which the user chooses a password.
pub async fn invite(auth: Data<Auth>, form: AdminForm, urls: Data<AccountUrls>, request: HttpRequest) -> PageResult {
    match invited(&auth, &form).await {
        Ok(link) => Ok(issued_link(&form.0.layout, &urls, &request, &link)),
        Err(reason) => {
            let (p, fields) = form.0.again(reason)?;
            Ok(new_user_page(&p, &fields))
        }
    }
}

async fn invited(auth: &Data<Auth>, form: &AdminForm) -> Result<NewLink, Reason> {
    let fields = &form.0.fields;
    let user = NewUser {
        name: fields.new_name(field::USER)?,
        email: fields
            .is_filled(field::EMAIL)
            .then(|| fields.new_name(field::EMAIL))
            .transpose()?,
        is_admin: fields.is_filled("admin"),
        profile: ProfileChange::default(),
    };
    let admin = form.0.confirmed(auth).await?;
    Ok(call(auth, move |auth| auth.invite_user((&admin).into(), &user)).await?)
}

fn new_user_page(p: &Layout, fields: &Fields) -> actix_web::HttpResponse {
    p.show(&NewUserPage {
        p,
        name: fields.text(field::USER),
        email: fields.text(field::EMAIL),
        is_admin: fields.is_filled("admin"),
    })
}
