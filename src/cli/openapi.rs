//! The command `openapi`.

use clap::ValueEnum;

use super::CliError;
use super::settings::DialectName;
use crate::openapi::{Version, document_json};
use crate::settings::BasePath;

/// Which document to print.
#[derive(clap::Args)]
pub struct Arguments {
    /// The dialect that the document describes.
    #[arg(long, value_name = "DIALECT", default_value = "shoko")]
    of: DialectName,
    /// The version of OpenAPI. Choose 3.0 for generators that do not read 3.1.
    #[arg(long, value_name = "VERSION", default_value = "3.1")]
    spec: VersionName,
}

#[derive(Clone, Copy, ValueEnum)]
enum VersionName {
    #[value(name = "3.0")]
    V3_0,
    #[value(name = "3.1")]
    V3_1,
}

/// Runs `openapi`.
pub fn run(arguments: &Arguments) -> Result<String, CliError> {
    let version = match arguments.spec {
        VersionName::V3_0 => Version::V3_0,
        VersionName::V3_1 => Version::V3_1,
    };
    Ok(document_json(arguments.of.into(), version, &BasePath::default())?)
}
