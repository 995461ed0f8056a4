//! `/api/v3/User`.

use actix_web::Responder;
use actix_web::web::Data;

use super::types::User;
use crate::auth::Auth;
use crate::model::Caller;
use crate::web::answer::Json;
use crate::web::call;
use crate::web::problem::Problem;
use crate::web::responses::{InternalError, Unauthorized, Unavailable};

/// Who am I?
#[utoipa::path(
    get,
    path = "/api/v3/User/Current",
    operation_id = "apiV3UserCurrentGet",
    tag = "User",
    responses(
        (status = 200, description = "The caller's user.", content(
            (User = "application/json", example = json!(User::example())),
            (User = "text/json", example = json!(User::example())),
        )),
        (status = 401, response = Unauthorized),
        (status = 500, response = InternalError),
        (status = 503, response = Unavailable),
    ),
    security(("ApiKey" = []), ("ApiKeyQuery" = []), ("Bearer" = [])),
)]
pub async fn current(auth: Data<Auth>, caller: Caller) -> Result<impl Responder, Problem> {
    let user = call(&auth, move |auth| auth.own_user(&caller)).await?;
    Ok(Json(User::from(user)))
}
