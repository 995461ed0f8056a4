//! `import`: users and keys from elsewhere.

use std::path::PathBuf;

use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::tz::TimeZone;
use serde::Serialize;

use super::CliError;
use super::list::{self, Listed};
use crate::auth::{Auth, Done, ImportMode, ImportReport, RowReport, Table, Tally};
use crate::store::ShokoData;

#[derive(Subcommand)]
pub enum Command {
    /// Take over the users and keys of a Shoko server: nobody is logged out, and passwords stay.
    Shoko {
        /// Its SQLite database, `JMMServer.db3` or `Shoko.db3`; it is only read.
        file: PathBuf,
        /// Say what would be done, and write nothing.
        #[arg(long)]
        dry_run: bool,
        /// For programs.
        #[arg(long)]
        json: bool,
    },
}

/// Everything that can go wrong with the file is said before the database here is opened, or made.
pub fn run(open: impl FnOnce() -> Result<Auth, CliError>, command: Command) -> Result<String, CliError> {
    let Command::Shoko { file, dry_run, json } = command;
    let data = ShokoData::read(&file).map_err(|fault| CliError::Other(fault.to_string()))?;
    if data.keys.iter().any(|key| key.expires_at.is_some()) {
        let unknown = |e| format!("keys expire in the local time of Shoko's machine: set TZ to its time zone ({e})");
        TimeZone::try_system().map_err(|e| CliError::Other(unknown(e)))?;
    }
    let mode = if dry_run { ImportMode::DryRun } else { ImportMode::Write };
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:40} {pos} of {len} passwords")
            .map_err(|e| CliError::Other(e.to_string()))?,
    );
    let report = open()?.import_shoko(&data, mode, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    });
    bar.finish_and_clear();
    let report = report?;
    let report = Report::of(&report, dry_run);
    if json {
        return Ok(serde_json::to_string_pretty(&report)? + "\n");
    }
    report.for_people()
}

/// What a name needs in front that begins like an option.
fn dashes(name: &str) -> &'static str {
    if name.starts_with('-') { "-- " } else { "" }
}

/// What programs read.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    dry_run: bool,
    users: Counts,
    keys: Counts,
    /// The administrator of the first start, who made room.
    removed_administrator: Option<&'a str>,
    added_administrators: &'a [String],
    /// Who cannot log in until the command of the same place was run.
    without_password: &'a [String],
    commands: Vec<String>,
    /// About which there is something to say.
    rows: Vec<Row<'a>>,
}

#[derive(Serialize)]
struct Counts {
    added: usize,
    merged: usize,
    skipped: usize,
}

impl From<Tally> for Counts {
    fn from(tally: Tally) -> Self {
        Self {
            added: tally.added,
            merged: tally.merged,
            skipped: tally.skipped,
        }
    }
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
            done: match report.done {
                Done::Added => "added",
                Done::Merged => "merged",
                Done::Skipped => "skipped",
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
    fn of(report: &'a ImportReport, dry_run: bool) -> Self {
        let command = |name: &String| format!("shoko-auth user set-password {}{}", dashes(name), list::in_quotes(name));
        Self {
            dry_run,
            users: report.users.into(),
            keys: report.keys.into(),
            removed_administrator: report.removed_admin.as_deref(),
            added_administrators: &report.added_admins,
            without_password: &report.without_password,
            commands: report.without_password.iter().map(command).collect(),
            rows: report.rows.iter().map(Row::from).collect(),
        }
    }

    fn for_people(&self) -> Result<String, CliError> {
        let mut lines = Vec::new();
        if !self.rows.is_empty() {
            lines.push(list::text(&self.rows, false)?);
        }
        if let Some(name) = self.removed_administrator {
            lines.push(format!(
                "The administrator {name} of the first start, as whom nobody had logged in, made room for Shoko's."
            ));
        }
        for (what, counts) in [("Users", &self.users), ("Keys", &self.keys)] {
            let Counts { added, merged, skipped } = counts;
            lines.push(format!("{what}: {added} added, {merged} merged, {skipped} skipped."));
        }
        if !self.added_administrators.is_empty() {
            lines.push(format!(
                "Administrators were added: {}.",
                self.added_administrators.join(", ")
            ));
        }
        if !self.commands.is_empty() {
            lines.push("Who has no password keeps the keys, and can log in after:".to_owned());
            lines.extend(self.commands.iter().map(|command| format!("    {command}")));
        }
        if self.dry_run {
            lines.push("This was a dry run: nothing is written.".to_owned());
        }
        Ok(lines.join("\n") + "\n")
    }
}
