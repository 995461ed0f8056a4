//! The problems of the document: each is described once, with an example, and the operations refer to it.

use actix_web::http::StatusCode;
use serde_json::{Value, json};
use utoipa::openapi::{Content, Header, ObjectBuilder, Ref, RefOr, Response, ResponseBuilder, schema::Type};
use utoipa::{OpenApi, ToResponse, ToSchema};

use super::problem::{MvcProblemDetails, title, type_url};

/// One type a problem: its status, its description, what its example holds beside `type`, `title` and `status`,
/// and the header it comes with.
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

        /// The part of the document that holds them.
        #[derive(OpenApi)]
        #[openapi(components(schemas(MvcProblemDetails), responses($($name),*)))]
        pub struct Problems;
    };
}

problems! {
    /// 400.
    BadRequest: StatusCode::BAD_REQUEST, "Something in the request is not valid; `errors` or `detail` says what.",
        json!({"errors": {"user": ["Username is required"]}}), None;
    /// 401.
    Unauthorized: StatusCode::UNAUTHORIZED, "The credentials, or the key, are missing or wrong.",
        json!({"detail": "The user name or the password is wrong."}),
        Some(("WWW-Authenticate", "How to say who calls (RFC 6750)."));
    /// 403.
    Forbidden: StatusCode::FORBIDDEN, "The caller may not do this.",
        json!({"detail": "Only an administrator may do this."}), None;
    /// 404.
    NotFound: StatusCode::NOT_FOUND, "There is nothing at this address, or no such user.",
        json!({"detail": "An user by the given `userID` doesn't exist."}), None;
    /// 413.
    TooLarge: StatusCode::PAYLOAD_TOO_LARGE, "The body is too large.",
        json!({"detail": "The body may have at most 16384 bytes."}), None;
    /// 415.
    UnsupportedType: StatusCode::UNSUPPORTED_MEDIA_TYPE, "The body is of another type than this operation takes.",
        json!({"detail": "The Content-Type must be application/json, text/json or application/*+json, in UTF-8."}),
        None;
    /// 429.
    TooManyTries: StatusCode::TOO_MANY_REQUESTS, "Too many wrong passwords; not even the right one is taken now.",
        json!({"detail": "Too many tries. Try again in 4 s."}),
        Some(("Retry-After", "After how many seconds to try again."));
    /// 500.
    InternalError: StatusCode::INTERNAL_SERVER_ERROR, "A fault of the server's; its log says more under the trace id.",
        json!({}), None;
    /// 503.
    Unavailable: StatusCode::SERVICE_UNAVAILABLE, "The database cannot be used now, or too many passwords are to be checked.",
        json!({"detail": "The database cannot be used now. Try again later."}),
        Some(("Retry-After", "After how many seconds to try again."));
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
