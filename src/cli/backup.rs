//! The commands `backup` and `restore`.

use std::path::{Path, PathBuf};

use super::CliError;
use super::escape::shell_quote;
use crate::auth::{BackupError, RestoreOptions, Restored, back_up, restore};
use crate::settings::CoreSettings;

/// The sentence about the sealing secret, which both commands print.
const SECRET: &str = "The sealing secret is not part of the backup, so that a stolen backup contains no usable key. Keep \
                      secret.key or SHOKO_AUTH_SECRET_KEY in another safe place: without it, devices get new keys at their \
                      next login.\n";

/// Runs `backup`.
pub fn run_backup(settings: &CoreSettings, file: &Path) -> Result<String, CliError> {
    back_up(settings, file).map_err(|error| match error {
        BackupError::NotEmbedded => CliError::Other(format!(
            "with PostgreSQL, use its own program instead: pg_dump --format=custom --no-owner --file={} \"$DATABASE_URL\". \
             It needs no pause. Keep SHOKO_AUTH_SECRET_KEY as well",
            quoted(file)
        )),
        other => other.into(),
    })?;
    Ok(format!("Wrote {}.\n{SECRET}", file.display()))
}

/// Runs `restore`.
pub fn run_restore(settings: &CoreSettings, file: &Path, options: RestoreOptions) -> Result<String, CliError> {
    let restored = restore(settings, file, options).map_err(|error| match error {
        BackupError::NotEmbedded => CliError::Other(format!(
            "with PostgreSQL, use its own program instead: stop all nodes, create an empty database, let DATABASE_URL \
             lead to it, and run pg_restore --no-owner --single-transaction --dbname=\"$DATABASE_URL\" {} && \
             psql \"$DATABASE_URL\" --command='DELETE FROM one_time_links'",
            quoted(file)
        )),
        other => other.into(),
    })?;
    Ok(report(&restored, options))
}

fn report(restored: &Restored, options: RestoreOptions) -> String {
    let kept: Vec<_> = restored.kept.iter().map(|file| file.display().to_string()).collect();
    let kept = match kept.as_slice() {
        [] => String::new(),
        kept => format!("The old database is kept: {}\n", kept.join(", ")),
    };
    format!(
        "Restored {}.\n{kept}Users, passwords and keys are those of the time of the backup: later password changes, deleted \
         users and revoked keys are undone. One-time links no longer work.\n{}{SECRET}",
        restored.database.display(),
        revived_keys(restored, options)
    )
}

/// Returns the sentences about keys that were revoked since the backup.
fn revived_keys(restored: &Restored, options: RestoreOptions) -> String {
    const REVOKE: &str =
        "To revoke all keys, run the restore again with --revoke-all-keys before you start the server.\n";
    match (options.revoke_all_keys, restored.revived_keys) {
        (true, _) => "All keys are revoked: all users have to log in again.\n".to_owned(),
        (false, Some(0)) => "No key that was revoked since the backup works again.\n".to_owned(),
        (false, Some(keys)) => {
            format!("Keys that were revoked since the backup and work again: {keys}. {REVOKE}")
        }
        (false, None) => format!(
            "Keys that were revoked since the backup work again. There is no readable old database, so their number is \
             unknown. {REVOKE}"
        ),
    }
}

fn quoted(file: &Path) -> String {
    shell_quote(&file.display().to_string())
}

/// The arguments of `restore`.
#[derive(clap::Args)]
pub struct RestoreArguments {
    /// The backup.
    pub file: PathBuf,
    /// Also revoke all keys, so that all users have to log in again.
    #[arg(long)]
    pub revoke_all_keys: bool,
}
