//! Responses as Shoko sends them, in the media type that the client accepts.

use actix_web::body::BoxBody;
use actix_web::http::header::{self, Accept, Header};
use actix_web::{HttpRequest, HttpResponse, Responder};
use serde::Serialize;

use crate::error::ServiceError;
use crate::web::problem::Problem;

/// Text: plain, or a JSON string for clients that accept only JSON.
pub struct PlainText(pub String);

impl Responder for PlainText {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        let accepted = Accept::parse(request).map(|accept| accept.0).unwrap_or_default();
        let accepts = |names: &[&str]| accepted.iter().any(|range| names.contains(&range.item.essence_str()));
        let accepts_json = accepts(&["application/json", "application/*", "text/json"]);
        if accepts_json && !accepts(&["*/*", "text/plain", "text/*"]) {
            return Json(self.0).respond_to(request);
        }
        HttpResponse::Ok()
            .insert_header((header::CONTENT_TYPE, "text/plain; charset=utf-8"))
            .body(self.0)
    }
}

/// JSON: `application/json`, or `text/json` for clients that prefer it.
pub struct Json<T>(pub T);

impl<T: Serialize> Responder for Json<T> {
    type Body = BoxBody;

    fn respond_to(self, request: &HttpRequest) -> HttpResponse {
        match serde_json::to_string(&self.0) {
            Ok(body) => HttpResponse::Ok()
                .insert_header((header::CONTENT_TYPE, media_type(request)))
                .body(body),
            Err(error) => HttpResponse::from_error(Problem::from(ServiceError::internal(error))),
        }
    }
}

fn media_type(request: &HttpRequest) -> &'static str {
    let ranked = Accept::parse(request).map(|accept| accept.ranked()).unwrap_or_default();
    let preferred = ranked.iter().find_map(|range| match range.essence_str() {
        "application/json" | "application/*" | "*/*" => Some("application/json; charset=utf-8"),
        "text/json" | "text/*" => Some("text/json; charset=utf-8"),
        _ => None,
    });
    preferred.unwrap_or("application/json; charset=utf-8")
}
