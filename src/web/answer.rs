//! Answers as Shoko gives them.

use actix_web::body::BoxBody;
use actix_web::http::header::{self, Accept, Header};
use actix_web::{CustomizeResponder, HttpRequest, HttpResponse, Responder};
use serde::Serialize;

use super::problem::Problem;
use crate::error::AuthError;

/// Marks an answer of a dialect that says no in its own way: it is sent as it is, even without a body.
#[derive(Default)]
pub struct Verbatim {
    /// Why it is our fault, for the log; `None`: it is not.
    pub cause: Option<String>,
}

/// A bare text: as it is, or as a JSON string for who reads nothing but JSON.
pub struct Text(pub String);

impl Text {
    /// For an answer that is a key: nobody on the way may keep it.
    #[must_use]
    pub fn no_store(self) -> CustomizeResponder<Self> {
        self.customize().insert_header((header::CACHE_CONTROL, "no-store"))
    }
}

impl Responder for Text {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let accepted = Accept::parse(request).map(|accept| accept.0).unwrap_or_default();
        let named = |names: &[&str]| accepted.iter().any(|range| names.contains(&range.item.essence_str()));
        let json = named(&["application/json", "application/*", "text/json"]);
        if json && !named(&["*/*", "text/plain", "text/*"]) {
            return Json(self.0).respond_to(request);
        }
        HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
            .body(self.0)
    }
}

/// JSON: `application/json; charset=utf-8`, or `text/json` for who asks for that.
pub struct Json<T>(pub T);

impl<T: Serialize> Json<T> {
    /// For an answer that carries a key: nobody on the way may keep it.
    #[must_use]
    pub fn no_store(self) -> CustomizeResponder<Self> {
        self.customize().insert_header((header::CACHE_CONTROL, "no-store"))
    }
}

impl<T: Serialize> Responder for Json<T> {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        match serde_json::to_string(&self.0) {
            Ok(body) => HttpResponse::Ok()
                .insert_header((header::CONTENT_TYPE, media_type(request)))
                .body(body),
            Err(e) => HttpResponse::from_error(Problem::from(AuthError::internal(e.to_string()))),
        }
    }
}

fn media_type(request: &HttpRequest) -> &'static str {
    let ranked = Accept::parse(request).map(|accept| accept.ranked()).unwrap_or_default();
    let answers = ranked.iter().find_map(|range| match range.essence_str() {
        "application/json" | "application/*" | "*/*" => Some("application/json; charset=utf-8"),
        "text/json" | "text/*" => Some("text/json; charset=utf-8"),
        _ => None,
    });
    answers.unwrap_or("application/json; charset=utf-8")
}
