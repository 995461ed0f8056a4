//! The command `import`.

use std::path::PathBuf;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::CliError;
use super::escape::{escape_json, shell_quote};
use super::list::{self, Listed};
use super::user::link_text;
use crate::account::AccountUrls;
use crate::auth::{Auth, Counts, ImportMode, ImportReport, RowOutcome, RowReport, ShokoDatabase, Table};
use crate::model::{Actor, Name, UserRef};

#[derive(Subcommand)]
pub enum Command {
    /// Import the users and keys of a Shoko server. Users stay logged in and keep their passwords.
    Shoko {
        /// Shoko's SQLite database, `JMMServer.db3` or `Shoko.db3`. It is only read.
        file: PathBuf,
        /// Only report what the import would do; write nothing.
        #[arg(long)]
        dry_run: bool,
        /// Print JSON for programs.
        #[arg(long)]
        json: bool,
        /// Print a one-time link for each user without a password, with which the user chooses one.
        #[arg(long, conflicts_with = "dry_run")]
        invite_links: bool,
    },
}

/// Runs the command. Reads the file first, so that problems with it are reported before the database is opened or
/// created.
pub fn run(
    open: impl FnOnce() -> Result<Auth, CliError>,
    urls: &AccountUrls,
    command: Command,
) -> Result<String, CliError> {
    let Command::Shoko {
        file,
        dry_run,
        json,
        invite_links,
    } = command;
    let data = ShokoDatabase::read(&file).map_err(|error| CliError::Other(error.to_string()))?;
    if data.keys.iter().any(|key| key.expires_at.is_some()) {
        let unknown =
            |e| format!("Shoko stores expiry times in its machine's local time: set TZ to that time zone ({e})");
        TimeZone::try_system().map_err(|e| CliError::Other(unknown(e)))?;
    }
    let mode = if dry_run { ImportMode::DryRun } else { ImportMode::Write };
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:40} {pos} of {len} passwords")
            .map_err(|e| CliError::Other(e.to_string()))?,
    );
    let auth = open()?;
    let report = auth.import_shoko(&data, mode, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let report = report?;
    let links = if invite_links {
        let names = report.without_password.iter();
        names.map(|name| invite(&auth, name, urls)).collect::<Result<_, _>>()?
    } else {
        Vec::new()
    };
    let report = Report::of(&report, dry_run, links);
    if json {
        return Ok(escape_json(&serde_json::to_string_pretty(&report)?) + "\n");
    }
    report.for_people()
}

/// Issues a link for a user without a password.
fn invite(auth: &Auth, name: &str, urls: &AccountUrls) -> Result<Link, CliError> {
    let user = Name::parse(name).map_err(|error| CliError::Other(error.to_string()))?;
    let link = auth.issue_link(Actor::Operator, &UserRef::Name(user))?;
    Ok(Link {
        user: name.to_owned(),
        link: link_text(&link, urls),
    })
}

/// A one-time link for an imported user.
#[derive(Serialize)]
struct Link {
    user: String,
    link: String,
}

/// Returns `-- ` if the name looks like an option, so that it is read as a name. Otherwise returns an empty text.
fn end_of_options(name: &str) -> &'static str {
    if name.starts_with('-') { "-- " } else { "" }
}

/// An import report as JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    dry_run: bool,
    users: Counts,
    keys: Counts,
    /// The unused initial administrator that was removed.
    removed_administrator: Option<&'a str>,
    /// The unused initial administrator that was kept because no administrator of Shoko can log in.
    kept_administrator: Option<&'a str>,
    added_administrators: &'a [String],
    /// The users without a password. The command at the same index in `commands` sets one.
    without_password: &'a [String],
    commands: Vec<String>,
    /// The one-time links of these users, with `--invite-links`.
    links: Vec<Link>,
    /// The rows with remarks.
    rows: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Row<'a> {
    table: &'static str,
    #[serde(rename = "row")]
    id: i64,
    name: &'a str,
    done: &'static str,
    remarks: &'a [String],
}

impl<'a> From<&'a RowReport> for Row<'a> {
    fn from(report: &'a RowReport) -> Self {
        Self {
            table: match report.table {
                Table::Users => "JMMUser",
                Table::Keys => "AuthTokens",
            },
            id: report.row,
            name: &report.name,
            done: match report.outcome {
                RowOutcome::Added => "added",
                RowOutcome::Merged => "merged",
                RowOutcome::Skipped => "skipped",
            },
            remarks: &report.remarks,
        }
    }
}

impl Listed for Row<'_> {
    const COLUMNS: &'static [&'static str] = &["TABLE", "ROW", "NAME", "DONE", "WHY"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.table.to_owned(),
            self.id.to_string(),
            self.name.to_owned(),
            self.done.to_owned(),
            self.remarks.join("; "),
        ]
    }
}

impl<'a> Report<'a> {
    fn of(report: &'a ImportReport, dry_run: bool, links: Vec<Link>) -> Self {
        let command = |name: &String| {
            format!(
                "shoko-auth user set-password {}{}",
                end_of_options(name),
                shell_quote(name)
            )
        };
        Self {
            dry_run,
            users: report.users,
            keys: report.keys,
            removed_administrator: report.removed_admin.as_deref(),
            kept_administrator: report.kept_admin.as_deref(),
            added_administrators: &report.added_admins,
            without_password: &report.without_password,
            commands: report.without_password.iter().map(command).collect(),
            links,
            rows: report.rows.iter().map(Row::from).collect(),
        }
    }

    fn for_people(&self) -> Result<String, CliError> {
        let mut lines = Vec::new();
        if !self.rows.is_empty() {
            lines.push(list::render(&self.rows, false)?);
        }
        if let Some(name) = self.removed_administrator {
            lines.push(format!(
                "Removed the unused initial administrator {name}; Shoko's administrators take its place."
            ));
        }
        if let Some(name) = self.kept_administrator {
            lines.push(format!(
                "Kept the unused initial administrator {name}, because no administrator of Shoko has a password or a \
                 key that never expires."
            ));
        }
        for (what, counts) in [("Users", &self.users), ("Keys", &self.keys)] {
            let Counts { added, merged, skipped } = counts;
            lines.push(format!("{what}: {added} added, {merged} merged, {skipped} skipped."));
        }
        if !self.added_administrators.is_empty() {
            lines.push(format!(
                "Added administrators: {}.",
                self.added_administrators.join(", ")
            ));
        }
        if !self.links.is_empty() {
            lines.push(
                "These users keep their API keys but have no password. With these links, they choose one:".to_owned(),
            );
            let link = |Link { user, link }: &Link| format!("    {user}: {link}");
            lines.extend(self.links.iter().map(link));
        } else if !self.commands.is_empty() {
            lines.push("These users keep their API keys but have no password. To let them log in, run:".to_owned());
            lines.extend(self.commands.iter().map(|command| format!("    {command}")));
        }
        if self.dry_run {
            lines.push("This was a dry run: nothing was written.".to_owned());
        }
        Ok(lines.join("\n") + "\n")
    }
}
