//! Somebody else's users and keys, Shoko's, into this service: so that nobody is logged out who changes over.
//!
//! What takes long is done first; then one short transaction writes everything, so that a running server is not held
//! up, and after whatever goes wrong all is as it was.

mod names;
mod report;
mod rows;

use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::NaiveDateTime;
use names::{DeviceNames, Fate, fates};
pub use report::{Done, ImportReport, RowReport, Table, Tally};
use rows::{NewcomerKey, NewcomerUser, Newcomers};

use super::Auth;
use super::audit::{self, Event};
use crate::error::{AuthError, Result};
use crate::model::{End, Name, NewUser, Origin, User};
use crate::secret::key::KeyHash;
use crate::secret::password::NO_PASSWORD;
use crate::store::{DbConnection, ShokoData, StoredKey};

/// Users with greater ids get new ones: there must be room behind the greatest.
const MAX_USER_ID: i32 = 1 << 30;

/// Stands for the hashes that a dry run does not make.
const NOT_HASHED: &str = "dry run";

/// Whether an import writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportMode {
    /// Everything is written.
    Write,
    /// Nothing is; the report is the same.
    DryRun,
}

/// What is to be stored for the password of a user who is added, by row.
type Hashes = HashMap<i64, String>;
/// Who is here for a user of Shoko's, by row.
type Owners = HashMap<i64, User>;

/// Why the transaction is undone.
enum Undone {
    DryRun,
    Failed(AuthError),
}

impl From<AuthError> for Undone {
    fn from(error: AuthError) -> Self {
        Self::Failed(error)
    }
}

impl Auth {
    /// Takes over what a Shoko database holds. `progress` is told how many passwords of how many are hashed. Done
    /// twice, it changes nothing the second time.
    pub fn import_shoko(
        &self,
        data: &ShokoData,
        mode: ImportMode,
        progress: impl Fn(usize, usize),
    ) -> Result<ImportReport> {
        let mut report = ImportReport::default();
        let newcomers = Newcomers::of(data, self.now(), &mut report);
        let hashes = match mode {
            ImportMode::Write => self.wrap_passwords(&newcomers.users, progress)?,
            ImportMode::DryRun => {
                let rows = newcomers.users.iter().map(|user| user.row);
                rows.map(|row| (row, NOT_HASHED.to_owned())).collect()
            }
        };
        let written = self.store.write(|db| {
            let owners = add_users(db, &newcomers.users, &hashes, self.now(), &mut report)?;
            self.add_keys(db, &newcomers.keys, &owners, &mut report)?;
            report.rows.sort_by_key(|row| (row.table, row.row));
            match mode {
                ImportMode::Write => Ok(()),
                ImportMode::DryRun => Err(Undone::DryRun),
            }
        });
        match written {
            Ok(()) => {
                self.callers.forget_all();
                audit::log(Event::Imported, "", "", &Origin::default());
            }
            Err(Undone::DryRun) => {}
            Err(Undone::Failed(error)) => return Err(error),
        }
        Ok(report)
    }

    fn wrap_passwords(&self, users: &[NewcomerUser], progress: impl Fn(usize, usize)) -> Result<Hashes> {
        let (fates, _) = fates(users, &self.store.read(DbConnection::users)?);
        let added = users.iter().zip(fates).filter(|(_, fate)| matches!(fate, Fate::Add));
        let kept: Vec<_> = added
            .filter_map(|(user, _)| Some((user.row, user.password.as_ref()?)))
            .collect();
        let mut hashes = Hashes::new();
        for (row, hash) in &kept {
            progress(hashes.len(), kept.len());
            // At a low priority: a server may be hashing meanwhile.
            let (passwords, hash) = (self.passwords.clone(), (*hash).clone());
            let place = self.hasher.place()?;
            let wrapped = place.run(&Origin::default(), move || passwords.wrap(&hash))??;
            hashes.insert(*row, wrapped);
        }
        progress(kept.len(), kept.len());
        Ok(hashes)
    }

    fn add_keys(
        &self,
        db: &mut DbConnection,
        keys: &[NewcomerKey],
        owners: &Owners,
        report: &mut ImportReport,
    ) -> Result<()> {
        let hashes: Vec<KeyHash> = keys.iter().map(|key| key.key.hash()).collect();
        let here = db.owners_of_keys(&hashes)?;
        let devices = name_devices(db, keys, owners, &here)?;
        let mut stored = Vec::new();
        for key in keys {
            let mut remarks = key.remarks.clone();
            let done = match (owners.get(&key.user_row), here.get(&key.key.hash())) {
                (None, _) => {
                    remarks.push("its user is left out".to_owned());
                    Done::Skipped
                }
                (Some(owner), Some(user_id)) if *user_id == owner.id => {
                    remarks.clear();
                    Done::Merged
                }
                (Some(_), Some(user_id)) => {
                    remarks.push(format!("it is a key of another user here (id {user_id})"));
                    Done::Skipped
                }
                (Some(owner), None) => {
                    let device = devices.get(&key.row).unwrap_or(&key.device);
                    if device != &key.device {
                        let name = device.shown();
                        remarks.push(format!("the device has another key: this one works on as '{name}'"));
                    }
                    stored.push(self.seal_imported(key, owner.id, device)?);
                    Done::Added
                }
            };
            report.add(RowReport {
                table: Table::Keys,
                row: key.row,
                name: key.device.shown().to_owned(),
                done,
                remarks,
            });
        }
        db.insert_keys(&stored, self.now())
    }

    /// To be handed out again, unless it expires.
    fn seal_imported<'a>(&self, key: &NewcomerKey, user_id: i32, device: &'a Name) -> Result<StoredKey<'a>> {
        let sealed = match key.expires_at {
            None => Some(self.sealer.seal(&key.key, user_id, device.folded())?),
            Some(_) => None,
        };
        Ok(StoredKey {
            user_id,
            device,
            hash: key.key.hash(),
            sealed,
            end: key.expires_at.map(|at| End {
                at,
                is_renewable: false,
            }),
        })
    }
}

/// What the devices of the lasting keys that are new are called here, by row.
fn name_devices(
    db: &mut DbConnection,
    keys: &[NewcomerKey],
    owners: &Owners,
    here: &HashMap<KeyHash, i32>,
) -> Result<HashMap<i64, Name>> {
    let mut devices = DeviceNames::default();
    // In the order of their ids, so that no two imports wait for each other.
    for user_id in owners.values().map(|user| user.id).collect::<BTreeSet<_>>() {
        // Nobody gets a key meanwhile for a device that has none.
        db.lock_credential(user_id)?;
        devices.take(user_id, db.sealed_devices(user_id)?);
    }
    let new = keys.iter().filter(|key| !here.contains_key(&key.key.hash()));
    let lasting = new.filter(|key| key.expires_at.is_none());
    Ok(devices.assign(lasting.filter_map(|key| Some((key.row, owners.get(&key.user_row)?.id, &key.device)))))
}

fn add_users(
    db: &mut DbConnection,
    users: &[NewcomerUser],
    hashes: &Hashes,
    now: NaiveDateTime,
    report: &mut ImportReport,
) -> Result<Owners> {
    db.lock_users()?;
    let mut here = db.users()?;
    let (fates, removed) = fates(users, &here);
    if let Some(admin) = removed {
        db.delete_user(admin.id)?;
        here.retain(|user| user.id != admin.id);
        report.removed_admin = Some(admin.name);
    }
    let added = users.iter().zip(&fates).filter(|(_, fate)| matches!(fate, Fate::Add));
    let ids = assign_ids(db, added.map(|(user, _)| user.row), &here)?;
    let mut owners = Owners::new();
    for (user, fate) in users.iter().zip(&fates) {
        let (done, owner, remarks) = match fate {
            Fate::Add => {
                let mut remarks = user.remarks.clone();
                let id = ids[&user.row];
                if i64::from(id) != user.row {
                    remarks.push(format!("the id is taken, or cannot be one here: it is {id} now"));
                }
                if user.is_admin {
                    report.added_admins.push(user.name.shown().to_owned());
                }
                (Done::Added, Some(add_user(db, user, id, hashes, now)?), remarks)
            }
            Fate::MergeInto(owner) => merge(user, owner),
            Fate::MergeIntoRow(row) => merge(user, &owners[row]),
            Fate::Skip(why) => (Done::Skipped, None, vec![why.clone()]),
        };
        report.add(RowReport {
            table: Table::Users,
            row: user.row,
            name: user.name.shown().to_owned(),
            done,
            remarks,
        });
        owners.extend(owner.map(|owner| (user.row, owner)));
    }
    let without_password = db.users_without_password()?;
    let mut locked_out: Vec<&User> = owners
        .values()
        .filter(|user| without_password.contains(&user.id))
        .collect();
    locked_out.sort_by_key(|user| user.id);
    locked_out.dedup_by_key(|user| user.id);
    report.without_password = locked_out.into_iter().map(|user| user.name.clone()).collect();
    Ok(owners)
}

fn add_user(db: &mut DbConnection, user: &NewcomerUser, id: i32, hashes: &Hashes, now: NaiveDateTime) -> Result<User> {
    let password = match (&user.password, hashes.get(&user.row)) {
        (None, _) => NO_PASSWORD,
        (Some(_), Some(hash)) => hash,
        (Some(_), None) => {
            let changed = "users were changed while passwords were hashed: import again";
            return Err(AuthError::Unavailable(changed.to_owned()));
        }
    };
    let new = NewUser {
        name: user.name.clone(),
        email: None,
        is_admin: user.is_admin,
        profile: user.profile.clone(),
    };
    db.insert_user(Some(id), &new, password, now)
}

/// A user of Shoko's who is here already, as `owner`.
fn merge(user: &NewcomerUser, owner: &User) -> (Done, Option<User>, Vec<String>) {
    let rights = match (user.is_admin, owner.is_admin) {
        (true, false) => ", who is no administrator here",
        (false, true) => ", who is an administrator here",
        _ => "",
    };
    let remark = format!(
        "there is a user of this name (id {}){rights}: the keys are added, the password stays as it is there",
        owner.id
    );
    (Done::Merged, Some(owner.clone()), vec![remark])
}

/// The ids of those who are added: their own where it is free, else new ones behind all that there are.
fn assign_ids(db: &mut DbConnection, rows: impl Iterator<Item = i64>, here: &[User]) -> Result<HashMap<i64, i32>> {
    let mut taken: HashSet<i32> = here.iter().map(|user| user.id).collect();
    let mut ids = HashMap::new();
    let mut others = Vec::new();
    for row in rows {
        let own = i32::try_from(row).ok().filter(|id| (1..=MAX_USER_ID).contains(id));
        match own.filter(|id| taken.insert(*id)) {
            Some(id) => {
                ids.insert(row, id);
            }
            None => others.push(row),
        }
    }
    let next = db.next_user_id()?;
    let mut free = taken.iter().map(|id| i64::from(*id) + 1).fold(next, i64::max);
    for row in others {
        let id = i32::try_from(free).map_err(|_| AuthError::Internal("there are no more user ids".to_owned()))?;
        ids.insert(row, id);
        free += 1;
    }
    if free > next {
        db.set_next_user_id(free)?;
    }
    Ok(ids)
}
