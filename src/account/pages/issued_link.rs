//! The page that shows a new one-time link. It is the only one that contains the link.

use actix_web::http::header::ORIGIN;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use url::Url;

use super::layout::Layout;
use super::times::Moment;
use crate::account::AccountUrls;
use crate::auth::NewLink;
use crate::model::escape_invisible;
use crate::secret::token::LinkToken;

#[derive(Template)]
#[template(path = "account/issued-link.html")]
struct IssuedLinkPage<'a> {
    p: &'a Layout,
    user_id: i32,
    user: String,
    link: String,
    expires: Moment,
}

/// Returns the page for a link that has just been issued.
pub fn issued_link(p: &Layout, urls: &AccountUrls, request: &HttpRequest, link: &NewLink) -> HttpResponse {
    p.show(&IssuedLinkPage {
        p,
        user_id: link.user_id,
        link: whole_link(urls, request, &link.token),
        user: escape_invisible(&link.user).into_owned(),
        expires: p.moment(link.expires_at),
    })
}

/// Returns the whole link. Without a public URL, its beginning is the origin of the page that has sent the form.
fn whole_link(urls: &AccountUrls, request: &HttpRequest, token: &LinkToken) -> String {
    urls.link_url(token).unwrap_or_else(|| {
        let origin = request.headers().get(ORIGIN).and_then(|origin| origin.to_str().ok());
        let origin = origin
            .and_then(|origin| Url::parse(origin).ok())
            .map(|url| url.origin());
        let origin = origin
            .filter(url::Origin::is_tuple)
            .map(|origin| origin.ascii_serialization());
        format!("{}{}", origin.unwrap_or_default(), urls.link_path(token))
    })
}
