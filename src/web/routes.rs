//! A macro that registers and documents routes from one list.

/// From one list, defines a function that registers handlers and a type that documents them. Write the paths in lower
/// case, because the request middleware converts the paths of requests to lower case.
///
/// ```ignore
/// routes! {
///     /// Routes below `/api`.
///     pub fn api_routes, ApiDocument {
///         "/user" => get users::list, post users::create;
///     }
/// }
/// ```
macro_rules! routes {
    ($(#[$attribute:meta])* $visibility:vis fn $function:ident, $document:ident {
        $($path:literal => $($method:ident $($handler:ident)::+),+;)*
    }) => {
        $(#[$attribute])*
        $visibility fn $function(config: &mut actix_web::web::ServiceConfig) {
            config$(.service(
                actix_web::web::resource($path)$(.route(actix_web::web::$method().to($($handler)::+)))+
            ))*;
        }

        #[derive(utoipa::OpenApi)]
        #[openapi(paths($($($($handler)::+),+),*))]
        $visibility struct $document;
    };
}

pub(crate) use routes;
