//! The result of an import, row by row.

use serde::Serialize;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowOutcome {
    Added,
    /// The user or key existed already. A user's keys are added to the existing user.
    Merged,
    Skipped,
}

/// A table of Shoko's database.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// `JMMUser`.
    Users,
    /// `AuthTokens`.
    Keys,
}

/// How many rows of a table had each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    pub added: usize,
    pub merged: usize,
    pub skipped: usize,
}

/// The outcome for one row, with remarks about it.
#[derive(Clone, Debug)]
pub struct RowReport {
    pub table: Table,
    /// The id of the row in its table.
    pub row: i64,
    /// The name of the user or device in Shoko; never a key.
    pub name: String,
    pub outcome: RowOutcome,
    /// The unusual facts about the row, and how the import handled them.
    pub remarks: Vec<String>,
}

/// The result of an import or of a dry run.
#[derive(Clone, Debug, Default)]
pub struct ImportReport {
    pub users: Counts,
    pub keys: Counts,
    /// The rows with remarks.
    pub rows: Vec<RowReport>,
    /// The name of the unused automatic administrator, if the import removed it.
    pub removed_admin: Option<String>,
    /// The name of the unused automatic administrator, if the import kept it because no added administrator could
    /// authenticate.
    pub kept_admin: Option<String>,
    pub added_admins: Vec<String>,
    /// The names of the added or merged users that cannot log in until a password is set.
    pub without_password: Vec<String>,
}

impl ImportReport {
    /// Counts a row, and keeps its report if it has remarks.
    pub(super) fn add(&mut self, report: RowReport) {
        let counts = match report.table {
            Table::Users => &mut self.users,
            Table::Keys => &mut self.keys,
        };
        match report.outcome {
            RowOutcome::Added => counts.added += 1,
            RowOutcome::Merged => counts.merged += 1,
            RowOutcome::Skipped => counts.skipped += 1,
        }
        if !report.remarks.is_empty() {
            self.rows.push(report);
        }
    }
}
