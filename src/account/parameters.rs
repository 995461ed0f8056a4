//! Descriptions of the parameters that several operations share. Only the document uses these types: the handlers read
//! parameters with [`super::json`], which returns problems.

use utoipa::IntoParams;

/// The part of a list that a response contains.
#[derive(IntoParams)]
#[into_params(parameter_in = Query, rename_all = "camelCase")]
pub struct PageParameters {
    /// The number of the page, from 1.
    #[param(minimum = 1)]
    pub page: Option<u32>,
    /// The number of items on a page. The default is 50.
    #[param(minimum = 1, maximum = 100)]
    pub page_size: Option<u32>,
}

/// The user in a path.
#[derive(IntoParams)]
#[into_params(parameter_in = Path)]
pub struct UserParameter {
    /// The id of the user.
    #[param(example = 1)]
    pub id: i32,
}
