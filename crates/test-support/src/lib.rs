//! Support for the tests of `shoko-auth`: databases, an HTTP client, and the program as a process of its own.

#![allow(clippy::missing_panics_doc, reason = "a test panics when it cannot continue")]
#![allow(clippy::must_use_candidate, reason = "most functions are called for their effect")]

pub mod client;
pub mod database;
pub mod pooler;
pub mod process;
pub mod relay;
pub mod shoko_database;
pub mod wait;

pub use client::{Client, Request, Response};
pub use database::{Backend, TestDatabase};
pub use macro_rules_attribute::apply;

/// Runs a test on SQLite and on PostgreSQL. The PostgreSQL test is ignored by default, because it needs a database
/// server.
///
/// ```ignore
/// #[apply(both_databases!)]
/// fn a_new_database_is_empty(backend: Backend) {
///     let database = TestDatabase::create(backend);
///     …
/// }
/// ```
#[macro_export]
macro_rules! both_databases {
    ($(#[$attribute:meta])* fn $name:ident $($rest:tt)*) => {
        $(#[$attribute])*
        fn $name $($rest)*

        mod $name {
            #[test]
            fn sqlite() {
                super::$name($crate::Backend::Sqlite);
            }

            #[test]
            #[ignore = "needs PostgreSQL: run ./scripts/test"]
            fn postgres() {
                super::$name($crate::Backend::Postgres);
            }
        }
    };
}
