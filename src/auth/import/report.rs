//! What an import did, row by row, for people and programs.

/// What became of a row of Shoko's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Done {
    /// It is here now.
    Added,
    /// The user, or the key, was here already; a user's keys are added to him.
    Merged,
    /// It is left out.
    Skipped,
}

/// Which table of Shoko's a row is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Table {
    /// `JMMUser`.
    Users,
    /// `AuthTokens`.
    Keys,
}

/// How many rows of a table became what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Are here now.
    pub added: usize,
    /// Were here already.
    pub merged: usize,
    /// Are left out.
    pub skipped: usize,
}

/// A row about which there is something to say.
#[derive(Clone, Debug)]
pub struct RowReport {
    /// Where it is.
    pub table: Table,
    /// Its id there.
    pub row: i64,
    /// The user's, or the device's, name there; never a key.
    pub name: String,
    /// What became of it.
    pub done: Done,
    /// What was odd, and what was done about it.
    pub remarks: Vec<String>,
}

/// What an import did, or would do.
#[derive(Debug, Default)]
pub struct ImportReport {
    /// Rows of `JMMUser`.
    pub users: Tally,
    /// Rows of `AuthTokens`.
    pub keys: Tally,
    /// The rows about which there is something to say.
    pub rows: Vec<RowReport>,
    /// The administrator of the first start, who made room for Shoko's.
    pub removed_admin: Option<String>,
    /// Which administrators were added.
    pub added_admins: Vec<String>,
    /// Who is here now and cannot log in until a password is set.
    pub without_password: Vec<String>,
}

impl ImportReport {
    /// Counts a row, and keeps it when there is something to say about it.
    pub(super) fn add(&mut self, report: RowReport) {
        let tally = match report.table {
            Table::Users => &mut self.users,
            Table::Keys => &mut self.keys,
        };
        match report.done {
            Done::Added => tally.added += 1,
            Done::Merged => tally.merged += 1,
            Done::Skipped => tally.skipped += 1,
        }
        if !report.remarks.is_empty() {
            self.rows.push(report);
        }
    }
}
