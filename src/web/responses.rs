//! The problems in the OpenAPI document. Each is described once, with an example, and operations refer to it.

use actix_web::http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::{Content, Header, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, schema::Type};
use utoipa::{OpenApi, ToResponse, ToSchema};

use super::problem::{MvcProblemDetails, title, type_url};

/// Defines a type for each problem. The arguments are its status, its description, its example (without `type`, `title`
/// and `status`, which are filled in) and, optionally, a response header.
macro_rules! problems {
    ($($(#[$doc:meta])* $name:ident: $status:expr, $description:literal, $more:expr, $header:expr;)*) => {
        $(
            $(#[$doc])*
            pub struct $name;

            impl<'r> ToResponse<'r> for $name {
                fn response() -> (&'r str, RefOr<Response>) {
                    (stringify!($name), describe($status, $description, $more, $header).into())
                }
            }
        )*

        /// The part of the OpenAPI document with all problems.
        #[derive(OpenApi)]
        #[openapi(components(schemas(MvcProblemDetails), responses($($name),*)))]
        pub struct Problems;
    };
}

problems! {
    BadRequest: StatusCode::BAD_REQUEST, "The request is not valid; `errors` or `detail` explains why.",
        json!({"errors": {"user": ["Username is required"]}}), None;
    Unauthorized: StatusCode::UNAUTHORIZED, "The password or the key is missing or wrong.",
        json!({"detail": "The user name or the password is wrong."}),
        Some(("WWW-Authenticate", "The authentication challenge (RFC 6750)."));
    Forbidden: StatusCode::FORBIDDEN,
        "The caller is not permitted to do this, or the request comes from a foreign web page.",
        json!({"detail": "Only an administrator may do this."}), None;
    NotFound: StatusCode::NOT_FOUND, "There is no such route or user.",
        json!({"detail": "An user by the given `userID` doesn't exist."}), None;
    Conflict: StatusCode::CONFLICT, "The device already has a key.",
        json!({"detail": "The device already has a key. Revoke that key first, or choose another name."}), None;
    TooLarge: StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.",
        json!({"detail": "The body may have at most 16384 bytes."}), None;
    UnsupportedType: StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "The body has a media type, an encoding or a charset that this operation does not accept.",
        json!({"detail": "The Content-Type must be application/json, text/json or application/*+json, in UTF-8."}),
        None;
    TooManyFailures: StatusCode::TOO_MANY_REQUESTS,
        "Too many failed logins. Even the correct password is rejected until `Retry-After` has passed.",
        json!({"detail": "Too many failed logins. Try again in 4 s."}),
        Some(("Retry-After", "The number of seconds to wait before trying again."));
    InternalError: StatusCode::INTERNAL_SERVER_ERROR,
        "An internal error. The server's log contains its cause, with the trace id.",
        json!({}), None;
    Unavailable: StatusCode::SERVICE_UNAVAILABLE, "The database is unavailable, or the server is busy.",
        json!({"detail": "The database is unavailable. Try again later."}),
        Some(("Retry-After", "The number of seconds to wait before trying again."));
}

fn describe(status: StatusCode, description: &str, more: Value, header: Option<(&str, &str)>) -> Response {
    let title = title(status, more.get("errors").is_some());
    let mut example = json!({
        "type": type_url(status),
        "title": title,
        "status": status.as_u16(),
        "traceId": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
    });
    if let (Value::Object(example), Value::Object(more)) = (&mut example, more) {
        example.extend(more);
    }
    let mut response = ResponseBuilder::new().description(description);
    for media_type in ["application/problem+json", "application/json", "text/json"] {
        let mut content = Content::new(Some(Ref::from_schema_name(MvcProblemDetails::name())));
        content.example = Some(example.clone());
        response = response.content(media_type, content);
    }
    if let Some((name, description)) = header {
        let mut header = Header::new(ObjectBuilder::new().schema_type(Type::String).build());
        header.description = Some(description.to_owned());
        response = response.header(name, header);
    }
    response.build()
}
