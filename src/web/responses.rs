//! The problems in the OpenAPI document. Each response is described once, with the problems that it can contain, and
//! operations refer to it.

use actix_web::http::StatusCode;
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa::openapi::example::{Example, ExampleBuilder};
use utoipa::openapi::{Content, Header, ObjectBuilder, Ref, RefOr, ResponseBuilder, schema::Type};

use super::origin::OriginError;
use super::problem::{MvcProblemDetails, title, type_url};
use crate::error::{ConfirmError, KeyError, LinkError, LoginError, ManageError, NewKeyError};

/// Defines a type for each response, and `Responses`, the part of the OpenAPI document with all of them and the listed
/// schemas.
macro_rules! documented_responses {
    (schemas($($schema:ty),*); $($name:ident => $response:expr;)*) => {
        $(
            pub struct $name;

            impl<'r> utoipa::ToResponse<'r> for $name {
                fn response() -> (&'r str, utoipa::openapi::RefOr<utoipa::openapi::Response>) {
                    (stringify!($name), $response.build().into())
                }
            }
        )*

        /// The part of the OpenAPI document with all error responses.
        #[derive(utoipa::OpenApi)]
        #[openapi(components(schemas($($schema),*), responses($($name),*)))]
        pub struct Responses;
    };
}

pub(crate) use documented_responses;

/// Defines a type for each response. The arguments are its status, its description, the members `detail` and `errors` of
/// each problem under the problem's name, and optionally a header with its meaning.
macro_rules! problems {
    ($($name:ident: $status:ident, $description:literal,
        [$($problem:literal => $members:tt),+] $(, $header:literal = $meaning:literal)?;)*) => {
        documented_responses! {
            schemas(MvcProblemDetails);
            $($name => describe(StatusCode::$status, $description, vec![$(($problem, json!($members))),+])
                $(.header($header, header($meaning)))?;)*
        }
    };
}

problems! {
    BadRequest: BAD_REQUEST, "The request is not valid; `errors` or `detail` explains why.",
        ["invalid" => {"errors": {"user": ["Username is required"]}}];
    Unauthorized: UNAUTHORIZED, "The key is missing, unknown, expired or revoked.",
        ["invalidKey" => {"detail": KeyError::Invalid.to_string()},
         "noKey" => {"detail": KeyError::Required.to_string()}],
        "WWW-Authenticate" = "The authentication challenge (RFC 6750).";
    WrongCredentials: UNAUTHORIZED, "The user name or the password is wrong, or the user is disabled.",
        ["wrongCredentials" => {"detail": LoginError::WrongCredentials.to_string()}],
        "WWW-Authenticate" = "The authentication challenge (RFC 6750).";
    AdministratorsOnly: FORBIDDEN, "The caller is not an administrator.",
        ["administratorsOnly" => {"detail": ManageError::Forbidden.to_string()}];
    ExpiringKey: FORBIDDEN, "The presented key expires, so it cannot be used for this change.",
        ["expiringKey" => {"detail": ManageError::ExpiringKey.to_string()}];
    Forbidden: FORBIDDEN, "The caller is not an administrator, or the presented key expires.",
        ["administratorsOnly" => {"detail": ManageError::Forbidden.to_string()},
         "expiringKey" => {"detail": ManageError::ExpiringKey.to_string()}];
    ForeignPage: FORBIDDEN, "The request comes from a page of another website.",
        ["foreignPage" => {"detail": foreign_login()}];
    ForeignPageWithSession: FORBIDDEN, "The request presents a session and comes from a page of another website.",
        ["foreignPage" => {"detail": foreign_page()}];
    OwnChangeForbidden: FORBIDDEN,
        "The current password is wrong, the presented key expires too early, or the request presents a session and comes from a page of another website.",
        ["wrongPassword" => {"detail": ConfirmError::WrongPassword.to_string()},
         "expiringKey" => {"detail": NewKeyError::WouldOutliveCaller.to_string()},
         "foreignPage" => {"detail": foreign_page()}];
    AdministrationForbidden: FORBIDDEN,
        "The caller is not an administrator, the current password is wrong, the presented key expires, or the request presents a session and comes from a page of another website.",
        ["administratorsOnly" => {"detail": ManageError::Forbidden.to_string()},
         "wrongPassword" => {"detail": ConfirmError::WrongPassword.to_string()},
         "expiringKey" => {"detail": ManageError::ExpiringKey.to_string()},
         "foreignPage" => {"detail": foreign_page()}];
    NotForwarded: FORBIDDEN, "The request does not come from a trusted proxy, or the user is not an administrator and the proxy requires one.",
        ["notProxy" => {"detail": "Only a proxy that is listed in SHOKO_AUTH_TRUSTED_PROXIES may call this route."},
         "administratorsOnly" => {"detail": ManageError::Forbidden.to_string()}];
    NotFound: NOT_FOUND, "There is no such user.",
        ["unknownUser" => {"detail": "An user by the given `userID` doesn't exist."}];
    UnknownUser: NOT_FOUND, "There is no such user.",
        ["unknownUser" => {"detail": ManageError::UnknownUser.to_string()}];
    UnknownKey: NOT_FOUND, "There is no such key.",
        ["unknownKey" => {"detail": ManageError::UnknownKey.to_string()}];
    UnknownLink: NOT_FOUND, "The link is no longer valid.",
        ["unknownLink" => {"detail": LinkError::Unknown.to_string()}];
    SwitchedOff: NOT_FOUND, "The route is switched off.", ["switchedOff" => {}];
    Conflict: CONFLICT, "The device already has a key.",
        ["deviceHasKey" => {"detail": NewKeyError::DeviceHasKey.to_string()}];
    TooLarge: PAYLOAD_TOO_LARGE, "The body is too large.",
        ["tooLarge" => {"detail": "The body may have at most 16384 bytes."}];
    UnsupportedType: UNSUPPORTED_MEDIA_TYPE,
        "The body has a media type, an encoding or a charset that this operation does not accept.",
        ["unsupportedType" => {"detail": "The Content-Type must be application/json, text/json or application/*+json, in UTF-8."}];
    TooManyFailures: TOO_MANY_REQUESTS,
        "Too many failed logins. Even the correct password is rejected until `Retry-After` has passed.",
        ["tooManyFailures" => {"detail": "Too many failed logins. Try again in 4 s."}],
        "Retry-After" = "The number of seconds to wait before trying again.";
    InternalError: INTERNAL_SERVER_ERROR,
        "An internal error. The server's log contains its cause, with the trace id.", ["internalError" => {}];
    Unavailable: SERVICE_UNAVAILABLE, "The database is unavailable, or the server is busy.",
        ["databaseUnavailable" => {"detail": "The database is unavailable. Try again later."},
         "busy" => {"detail": "The server is busy. Try again in 2 s."}],
        "Retry-After" = "The number of seconds to wait before trying again.";
}

/// Describes a response that contains one of `problems`. The examples show `type`, `title` and `status` too.
fn describe(status: StatusCode, description: &str, problems: Vec<(&str, Value)>) -> ResponseBuilder {
    let mut content = Content::new(Some(Ref::from_schema_name(MvcProblemDetails::name())));
    let problems: Vec<_> = problems
        .into_iter()
        .map(|(name, members)| (name.to_owned(), whole_problem(status, members)))
        .collect();
    match problems.as_slice() {
        [(_, problem)] => content.example = Some(problem.clone()),
        _ => {
            content.examples = problems
                .into_iter()
                .map(|(name, problem)| (name, example(problem)))
                .collect();
        }
    }
    let response = ResponseBuilder::new().description(description);
    // The order of preference of generated clients, which send these types in `Accept`.
    ["application/problem+json", "application/json"]
        .into_iter()
        .fold(response, |response, media_type| {
            response.content(media_type, content.clone())
        })
}

fn whole_problem(status: StatusCode, members: Value) -> Value {
    let mut problem = json!({
        "type": type_url(status),
        "title": title(status, members.get("errors").is_some()),
        "status": status.as_u16(),
        "traceId": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    });
    if let (Value::Object(problem), Value::Object(members)) = (&mut problem, members) {
        problem.extend(members);
    }
    problem
}

fn example(problem: Value) -> RefOr<Example> {
    ExampleBuilder::new().value(Some(problem)).build().into()
}

/// Describes a header with a text.
#[must_use]
pub fn header(description: &str) -> Header {
    let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String).build());
    header.description = Some(description.to_owned());
    header
}

fn foreign_login() -> String {
    let origin = FOREIGN_ORIGIN.to_owned();
    OriginError::ForeignPage { origin }.to_string()
}

fn foreign_page() -> String {
    let origin = FOREIGN_ORIGIN.to_owned();
    OriginError::NotOwnPage { origin }.to_string()
}

/// The origin of another website, in examples.
const FOREIGN_ORIGIN: &str = "https://example.net";
