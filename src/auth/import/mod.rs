//! Imports users and keys from Shoko, so that users stay logged in when a server moves to this service.
//!
//! The passwords are hashed first, because this takes a long time. One short transaction then writes everything, so a
//! running server is not blocked and a failed import changes nothing.

mod candidates;
mod names;
mod report;
mod shoko_database;
mod shoko_file;

#[cfg(test)]
mod interleaving_tests;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::NaiveDateTime;

use candidates::{CandidateKey, CandidateUser, ImportCandidates};
use names::{AutomaticAdmin, DeviceNames, MergeDecision, decide};
pub use report::{Counts, ImportReport, RowOutcome, RowReport, Table};
pub use shoko_database::{ShokoDatabase, ShokoError};

use super::Auth;
use super::audit::{self, Event};
use super::hashing::Client;
use crate::error::{Result, ServiceError};
use crate::model::{Actor, Expiration, KeyKind, Name, NewUser, RequestContext, Scope, User};
use crate::secret::key::KeyHash;
use crate::secret::password::NO_PASSWORD;
use crate::store::{Reader, StoredKey, Transaction};

/// The greatest id that an import keeps. Users with greater ids get new ids, so that free ids remain for later users.
const MAX_USER_ID: i32 = 1 << 30;

/// Stands for every password hash in a dry run, which hashes no password.
const NO_HASH: &str = "dry run";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportMode {
    Write,
    /// Writes nothing, but returns the report that an import would return.
    DryRun,
}

/// The reason to roll back the transaction of a dry run, with its report.
struct DryRun(ImportReport);

/// The hashes to store for added users, by `JMMUserID`.
type Hashes = HashMap<i64, String>;
/// The users of this service that correspond to Shoko's users, by `JMMUserID`.
type Owners = HashMap<i64, User>;

impl Auth {
    /// Imports a Shoko database. `progress` receives how many passwords have been hashed and how many there are. A
    /// second import of the same database changes nothing.
    pub fn import_shoko(
        &self,
        data: &ShokoDatabase,
        mode: ImportMode,
        progress: impl Fn(usize, usize),
    ) -> Result<ImportReport> {
        let mut rejected = ImportReport::default();
        let candidates = ImportCandidates::new(data, self.now(), &mut rejected);
        let hashes = match mode {
            ImportMode::Write => self.wrap_passwords(&candidates, progress)?,
            ImportMode::DryRun => {
                let rows = candidates.users.iter().map(|user| user.row);
                rows.map(|row| (row, NO_HASH.to_owned())).collect()
            }
        };
        let written = self.store.write_unless(|tx| -> Result<_> {
            let mut report = rejected.clone();
            let owners = add_users(tx, &candidates, &hashes, self.now(), &mut report)?;
            self.add_keys(tx, &candidates.keys, &owners, &mut report)?;
            Ok(match mode {
                ImportMode::Write => Ok(report),
                ImportMode::DryRun => Err(DryRun(report)),
            })
        })?;
        let mut report = match written {
            Ok(report) => {
                self.key_cache.invalidate_all();
                audit::log(Event::Imported, "", "", Actor::Operator);
                report
            }
            Err(DryRun(report)) => report,
        };
        report.rows.sort_by_key(|row| (row.table, row.row));
        Ok(report)
    }

    fn wrap_passwords(&self, candidates: &ImportCandidates, progress: impl Fn(usize, usize)) -> Result<Hashes> {
        let (users, here) = (&candidates.users, self.store.read(Reader::users)?);
        let (decisions, _) = decide(users, &candidates.users_with_lasting_keys(), &here);
        let added = users.iter().zip(decisions);
        let added = added.filter(|(_, decision)| matches!(decision, MergeDecision::Add));
        let shoko_hashes: Vec<_> = added
            .filter_map(|(user, _)| Some((user.row, user.password.as_ref()?)))
            .collect();
        let mut hashes = Hashes::new();
        for (row, hash) in &shoko_hashes {
            progress(hashes.len(), shoko_hashes.len());
            // Use the pool for its low priority, because a server may be running on this machine.
            let (passwords, hash) = (self.passwords.clone(), (*hash).clone());
            let slot = self.hashing.reserve(Client::of_actor(Actor::Operator))?;
            let wrapped = slot.run(&RequestContext::default(), move || passwords.wrap(&hash))??;
            hashes.insert(*row, wrapped);
        }
        progress(shoko_hashes.len(), shoko_hashes.len());
        Ok(hashes)
    }

    fn add_keys(
        &self,
        tx: &mut Transaction,
        keys: &[CandidateKey],
        owners: &Owners,
        report: &mut ImportReport,
    ) -> Result<()> {
        let hashes: Vec<KeyHash> = keys.iter().map(|key| key.key.hash()).collect();
        tx.delete_revoked_keys(&hashes)?;
        let here = tx.owners_of_keys(&hashes)?;
        let epochs = lock_owners(tx, owners)?;
        let devices = name_devices(tx, keys, owners, &here)?;
        let mut stored = Vec::new();
        for key in keys {
            let mut remarks = key.remarks.clone();
            let outcome = match (owners.get(&key.user_row), here.get(&key.key.hash())) {
                (None, _) => {
                    remarks.push("its user is skipped".to_owned());
                    RowOutcome::Skipped
                }
                (Some(owner), Some(user_id)) if *user_id == owner.id => {
                    remarks.clear();
                    RowOutcome::Merged
                }
                (Some(_), Some(user_id)) => {
                    remarks.push(format!("it is already a key of another user (id {user_id})"));
                    RowOutcome::Skipped
                }
                (Some(owner), None) => {
                    let device = devices.get(&key.row).unwrap_or(&key.device);
                    if device != &key.device {
                        let name = device.as_typed();
                        remarks.push(format!(
                            "the device already has a key: this key gets the device name '{name}'"
                        ));
                    }
                    let epoch = epochs[&owner.id];
                    stored.push(self.seal_imported(key, owner.id, epoch, device)?);
                    RowOutcome::Added
                }
            };
            report.add(RowReport {
                table: Table::Keys,
                row: key.row,
                name: key.device.as_typed().to_owned(),
                outcome,
                remarks,
            });
        }
        tx.insert_keys(&stored, self.now())
    }

    /// Seals a lasting key, so that the device's next login returns it again. A key that expires is not sealed.
    fn seal_imported<'a>(
        &self,
        key: &CandidateKey,
        user_id: i32,
        epoch: i32,
        device: &'a Name,
    ) -> Result<StoredKey<'a>> {
        let sealed = match key.expires_at {
            None => Some(self.sealer.seal(&key.key, user_id, device.normalized())?),
            Some(_) => None,
        };
        Ok(StoredKey {
            user_id,
            epoch,
            device,
            kind: KeyKind::Device(Scope::Full),
            gateway_hash: None,
            hash: key.key.hash(),
            sealed,
            expiration: key.expires_at.map(|at| Expiration {
                at,
                is_renewable: false,
            }),
        })
    }
}

/// Locks the owners, so that no login issues a lasting key for the same device and no change revokes the new keys.
/// Returns the epochs of their keys, by user id.
fn lock_owners(tx: &mut Transaction, owners: &Owners) -> Result<HashMap<i32, i32>> {
    let mut epochs = HashMap::new();
    // Lock the users in the order of their ids, so that two imports cannot deadlock.
    for user_id in owners.values().map(|user| user.id).collect::<BTreeSet<_>>() {
        let user = tx.lock_credential(user_id)?;
        let user = user.ok_or_else(|| ServiceError::internal("the owner of an imported key is missing"))?;
        epochs.insert(user_id, user.key_epoch);
    }
    Ok(epochs)
}

/// Assigns device names to the keys that are new and never expire. Returns the names by `AuthID`. The owners must be
/// locked.
fn name_devices(
    tx: &mut Transaction,
    keys: &[CandidateKey],
    owners: &Owners,
    here: &HashMap<KeyHash, i32>,
) -> Result<HashMap<i64, Name>> {
    let mut devices = DeviceNames::default();
    for user_id in owners.values().map(|user| user.id).collect::<BTreeSet<_>>() {
        devices.take(user_id, tx.sealed_devices(user_id)?);
    }
    let new = keys.iter().filter(|key| !here.contains_key(&key.key.hash()));
    let lasting = new.filter(|key| key.expires_at.is_none());
    Ok(devices.assign(lasting.filter_map(|key| Some((key.row, owners.get(&key.user_row)?.id, &key.device)))))
}

fn add_users(
    tx: &mut Transaction,
    candidates: &ImportCandidates,
    hashes: &Hashes,
    now: NaiveDateTime,
    report: &mut ImportReport,
) -> Result<Owners> {
    tx.lock_users()?;
    let mut here = tx.users()?;
    let users = &candidates.users;
    let (decisions, automatic) = decide(users, &candidates.users_with_lasting_keys(), &here);
    match automatic {
        AutomaticAdmin::Unaffected => {}
        AutomaticAdmin::Kept(admin) => report.kept_admin = Some(admin.name),
        AutomaticAdmin::Replaced(admin) => {
            tx.delete_user(admin.id)?;
            here.retain(|user| user.id != admin.id);
            report.removed_admin = Some(admin.name);
        }
    }
    let added = users.iter().zip(&decisions);
    let added = added.filter(|(_, decision)| matches!(decision, MergeDecision::Add));
    let ids = assign_ids(tx, added.map(|(user, _)| user.row), &here)?;
    let mut owners = Owners::new();
    for (user, decision) in users.iter().zip(&decisions) {
        let (outcome, owner, remarks) = match decision {
            MergeDecision::Add => {
                let mut remarks = user.remarks.clone();
                let id = ids[&user.row];
                if i64::from(id) != user.row {
                    remarks.push(format!("the id is taken or too large: the user gets the id {id}"));
                }
                if user.is_admin {
                    report.added_admins.push(user.name.as_typed().to_owned());
                }
                (RowOutcome::Added, Some(add_user(tx, user, id, hashes, now)?), remarks)
            }
            MergeDecision::MergeInto(owner) => merge(user, owner),
            MergeDecision::MergeIntoRow(row) => merge(user, &owners[row]),
            MergeDecision::Skip(why) => (RowOutcome::Skipped, None, vec![why.clone()]),
        };
        report.add(RowReport {
            table: Table::Users,
            row: user.row,
            name: user.name.as_typed().to_owned(),
            outcome,
            remarks,
        });
        owners.extend(owner.map(|owner| (user.row, owner)));
    }
    report.without_password = names_without_password(tx, &owners)?;
    Ok(owners)
}

/// Returns the names of the owners without a password, in the order of their ids.
fn names_without_password(tx: &mut Transaction, owners: &Owners) -> Result<Vec<String>> {
    let without_password = tx.users_without_password()?;
    // Several rows can have the same owner.
    let by_id: BTreeMap<i32, &User> = owners
        .values()
        .filter(|user| without_password.contains(&user.id))
        .map(|user| (user.id, user))
        .collect();
    Ok(by_id.into_values().map(|user| user.name.clone()).collect())
}

fn add_user(tx: &mut Transaction, user: &CandidateUser, id: i32, hashes: &Hashes, now: NaiveDateTime) -> Result<User> {
    let password = match (&user.password, hashes.get(&user.row)) {
        (None, _) => NO_PASSWORD,
        (Some(_), Some(hash)) => hash,
        (Some(_), None) => {
            let changed = "users changed while passwords were being hashed: import again";
            return Err(ServiceError::unavailable(changed));
        }
    };
    let new = NewUser {
        name: user.name.clone(),
        email: None,
        is_admin: user.is_admin,
        profile: user.profile.clone(),
    };
    tx.insert_user(Some(id), &new, password, now)
}

/// Returns the outcome, the owner and the remarks for a user of Shoko who already exists here as `owner`.
fn merge(user: &CandidateUser, owner: &User) -> (RowOutcome, Option<User>, Vec<String>) {
    let rights = match (user.is_admin, owner.is_admin) {
        (true, false) => ", without administrator rights",
        (false, true) => ", with administrator rights",
        _ => "",
    };
    let remark = format!(
        "a user with this name exists (id {}){rights}: that user gets the keys and keeps the password set here",
        owner.id
    );
    (RowOutcome::Merged, Some(owner.clone()), vec![remark])
}

/// Returns an id for each added user, by `JMMUserID`. It is the id from Shoko if that is free and not too large,
/// otherwise a new id greater than all others.
fn assign_ids(tx: &mut Transaction, rows: impl Iterator<Item = i64>, here: &[User]) -> Result<HashMap<i64, i32>> {
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
    let next = tx.next_user_id()?;
    let mut free = taken.iter().map(|id| i64::from(*id) + 1).fold(next, i64::max);
    for row in others {
        let id = i32::try_from(free).map_err(|_| ServiceError::internal("there are no more user ids"))?;
        ids.insert(row, id);
        free += 1;
    }
    if free > next {
        tx.set_next_user_id(free)?;
    }
    Ok(ids)
}
