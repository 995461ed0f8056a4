//! The error responses in the OpenAPI document.

use std::time::Duration;

use utoipa::ToSchema;
use utoipa::openapi::{Content, Ref, ResponseBuilder};

use super::error::ZulipError;
use crate::error::{KeyError, LoginError, ServiceError, ThrottleScope, Throttled};
use crate::web::body::BodyError;
use crate::web::origin::OriginError;
use crate::web::responses::{documented_responses, header};

/// The reason why a request failed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "`ZulipError` writes the body")]
pub struct Failure {
    /// Always `error`.
    result: String,
    /// The reason, for people.
    msg: String,
    /// The reason, for programs.
    code: String,
    /// The parameter that is missing.
    #[schema(nullable = false)]
    var_name: Option<String>,
    /// The number of seconds to wait before trying again, after too many failed logins.
    #[schema(rename = "retry-after", nullable = false)]
    retry_after: Option<f64>,
}

documented_responses! {
    schemas(Failure);
    MissingParameter => of(&ZulipError::missing_parameter("username"), "A parameter is missing.");
    NotHere => of(
        &ZulipError::bad_request("Endpoint not available in production."),
        "A parameter is missing, or the route is not available here."
    );
    NotBasic => of(
        &ZulipError::bad_request("This endpoint requires HTTP basic authentication."),
        "The scheme is not HTTP Basic, or the presented key has an expiry and cannot be replaced."
    );
    WrongCredentials => of(
        &LoginError::WrongCredentials.into(),
        "The user name or the password is wrong, or the user is disabled."
    );
    UnknownUser => of(&LoginError::WrongCredentials.into(), "There is no such user, or the user is disabled.");
    InvalidKey => of(&KeyError::Invalid.into(), "The key is missing or invalid.");
    ForeignPage => of(
        &OriginError::ForeignPage { origin: "https://example.net".to_owned() }.into(),
        "The request comes from a page of another website."
    );
    TooLarge => of(&BodyError::TooLarge { limit: 0 }.into(), "The form is too large.");
    UnsupportedType => of(
        &BodyError::UnsupportedCharset.into(),
        "The form has an encoding or a charset that is not supported."
    );
    TooManyFailures => too_many_failures();
    InternalError => of(
        &ServiceError::internal(std::io::Error::other("")).into(),
        "An internal error. The server's log contains its cause."
    );
    Unavailable => of(
        &ServiceError::ClientDisconnected.into(),
        "The database is unavailable, or the server is busy."
    );
}

fn too_many_failures() -> ResponseBuilder {
    let throttled = Throttled {
        scope: ThrottleScope::Account,
        retry_after: Duration::from_secs(4),
    };
    let response = of(&LoginError::Throttled(throttled).into(), "Too many failed logins.");
    [
        (
            "X-RateLimit-Limit",
            "The number of failed logins after which a user has to wait.",
        ),
        ("X-RateLimit-Remaining", "The number of failed logins that are left."),
        (
            "X-RateLimit-Reset",
            "When the next login is possible, in seconds since 1970.",
        ),
    ]
    .into_iter()
    .fold(response, |response, (name, meaning)| {
        response.header(name, header(meaning))
    })
}

fn of(error: &ZulipError, description: &str) -> ResponseBuilder {
    let mut content = Content::new(Some(Ref::from_schema_name(Failure::name())));
    content.example = Some(error.example());
    let response = ResponseBuilder::new()
        .description(description)
        .content("application/json", content);
    error.header_names().fold(response, |response, name| {
        let meaning = match name.as_str() {
            "retry-after" => "The number of seconds to wait before trying again.",
            _ => "The authentication challenge (RFC 7617).",
        };
        response.header(name.as_str(), header(meaning))
    })
}
