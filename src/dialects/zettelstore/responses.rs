//! The error responses in the OpenAPI document.

use std::time::Duration;

use actix_web::http::StatusCode;
use utoipa::openapi::schema::Type;
use utoipa::openapi::{Content, ObjectBuilder, ResponseBuilder};

use super::error::ZettelstoreError;
use crate::error::{KeyError, LoginError, ServiceError, ThrottleScope, Throttled};
use crate::web::body::BodyError;
use crate::web::origin::OriginError;
use crate::web::responses::{documented_responses, header};

documented_responses! {
    schemas();
    BadForm => of(&BodyError::NotUtf8.into(), "The form cannot be parsed.");
    WrongCredentials => of(
        &ZettelstoreError::authentication_failed(),
        "The user name or the password is missing or wrong."
    );
    NotAuthenticated => of(&KeyError::Invalid.into(), "The token is missing or invalid.");
    UnknownCommand => of(
        &ZettelstoreError::new(StatusCode::BAD_REQUEST, "Unknown command"),
        "There is no such command."
    );
    LoginForbidden => of(
        &OriginError::ForeignPage { origin: "https://example.net".to_owned() }.into(),
        "All logins are rejected (`SHOKO_AUTH_ZETTELSTORE_AUTH=refuse`), or the request comes from a page of another \
         website."
    );
    Refused => of(
        &ZettelstoreError::new(StatusCode::FORBIDDEN, "Authentication is not active"),
        "All logins are rejected (`SHOKO_AUTH_ZETTELSTORE_AUTH=refuse`)."
    );
    TooLarge => of(&BodyError::TooLarge { limit: 0 }.into(), "The form is too large.");
    UnsupportedType => of(
        &BodyError::UnsupportedCharset.into(),
        "The form has an encoding or a charset that is not supported."
    );
    TooManyFailures => of(&throttled().into(), "Too many failed logins.");
    InternalError => of(
        &ServiceError::internal(std::io::Error::other("")).into(),
        "An internal error. The server's log contains its cause."
    );
    Unavailable => of(
        &ServiceError::ClientDisconnected.into(),
        "The database is unavailable, or the server is busy."
    );
}

fn throttled() -> LoginError {
    LoginError::Throttled(Throttled {
        scope: ThrottleScope::Account,
        retry_after: Duration::from_secs(4),
    })
}

fn of(error: &ZettelstoreError, description: &str) -> ResponseBuilder {
    let mut content = Content::new(Some(ObjectBuilder::new().schema_type(Type::String)));
    content.example = Some(error.to_string().into());
    let response = ResponseBuilder::new()
        .description(description)
        .content("text/plain", content);
    error.header_names().fold(response, |response, name| {
        let meaning = match name {
            "Retry-After" => "The number of seconds to wait before trying again.",
            _ => "The authentication challenge (RFC 6750).",
        };
        response.header(name, header(meaning))
    })
}
