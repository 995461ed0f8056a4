//! Decides what happens to users and devices whose names exist already.

use std::collections::{HashMap, HashSet};

use super::candidates::CandidateUser;
use crate::model::{Name, User, normalize};

/// The decision about one of Shoko's users.
pub enum MergeDecision {
    Add,
    /// Adds the keys to this existing user with the same name.
    MergeInto(User),
    /// Adds the keys to the user in this row of Shoko's table. That user has the same name and takes precedence.
    MergeIntoRow(i64),
    /// Skips the user, for this reason.
    Skip(String),
}

/// Decides about each user. Also returns the automatic administrator if it is unused and the import adds another
/// administrator. The import must then remove it.
pub fn decide(users: &[CandidateUser], here: &[User]) -> (Vec<MergeDecision>, Option<User>) {
    if let Some(automatic) = here.iter().find(|user| user.is_automatic) {
        let decisions = decide_among(users, here.iter().filter(|user| user.id != automatic.id));
        let mut pairs = users.iter().zip(&decisions);
        if pairs.any(|(user, decision)| user.is_admin && matches!(decision, MergeDecision::Add)) {
            return (decisions, Some(automatic.clone()));
        }
    }
    (decide_among(users, here.iter()), None)
}

fn decide_among<'a>(users: &[CandidateUser], here: impl Iterator<Item = &'a User> + Clone) -> Vec<MergeDecision> {
    let names: HashMap<String, &User> = here.clone().map(|user| (normalize(&user.name), user)).collect();
    let emails = here.filter_map(|user| Some((normalize(user.email.as_deref()?), user.id)));
    let emails: HashMap<String, i32> = emails.collect();
    let mut first: HashMap<&str, i64> = HashMap::new();
    // A user who has this name in Shoko takes precedence over a user whose name the import has changed to it.
    for user in users.iter().filter(|user| !user.is_renamed).chain(users) {
        first.entry(user.name.normalized()).or_insert(user.row);
    }
    let decision = |user: &CandidateUser| {
        if let Some(here) = user.old_name.as_ref().and_then(|name| names.get(name.normalized())) {
            return MergeDecision::MergeInto((*here).clone());
        }
        let name = user.name.normalized();
        let row = first[name];
        match (names.get(name), emails.get(name)) {
            (Some(here), _) if user.is_renamed && here.is_admin && !user.is_admin => MergeDecision::Skip(format!(
                "the changed name is that of an administrator here (id {}): rename the user in Shoko and import again",
                here.id
            )),
            (Some(here), _) => MergeDecision::MergeInto((*here).clone()),
            (None, Some(id)) => MergeDecision::Skip(format!(
                "the name is the e-mail address of an existing user (id {id}): change one of them and import again"
            )),
            (None, None) if row == user.row => MergeDecision::Add,
            (None, None) if user.is_renamed => MergeDecision::Skip(format!(
                "the changed name is that of the user in row {row}: rename the user in Shoko and import again"
            )),
            (None, None) => MergeDecision::MergeIntoRow(row),
        }
    };
    users.iter().map(decision).collect()
}

/// The device names of the users' lasting keys. Each device has one such key.
#[derive(Default)]
pub struct DeviceNames(HashMap<i32, HashSet<String>>);

impl DeviceNames {
    /// Marks these normalized names as in use.
    pub fn take(&mut self, user_id: i32, names: impl IntoIterator<Item = String>) {
        self.0.entry(user_id).or_default().extend(names);
    }

    /// Assigns device names to keys and returns the names by row. Each key is given as (row, user, device). If the
    /// device's name is free, the device's first key gets it. The other keys get `NAME (2)`, `NAME (3)` and so on.
    pub fn assign<'a>(&mut self, keys: impl Iterator<Item = (i64, i32, &'a Name)>) -> HashMap<i64, Name> {
        let mut assigned = HashMap::new();
        let mut others = Vec::new();
        for (row, user_id, device) in keys {
            if self.was_free(user_id, device) {
                assigned.insert(row, device.clone());
            } else {
                others.push((row, user_id, device));
            }
        }
        for (row, user_id, device) in others {
            let mut numbered = (2_u64..).filter_map(|number| with_number(device, number));
            let free = numbered.find(|name| self.was_free(user_id, name));
            assigned.extend(free.map(|name| (row, name)));
        }
        assigned
    }

    /// Marks a name as in use and returns whether it was free.
    fn was_free(&mut self, user_id: i32, device: &Name) -> bool {
        let names = self.0.entry(user_id).or_default();
        names.insert(device.normalized().to_owned())
    }
}

/// Appends ` (number)` to the name. If the result would be longer than [`Name::MAX_CHARS`], first shortens the name.
fn with_number(device: &Name, number: u64) -> Option<Name> {
    let ending = format!(" ({number})");
    let room = Name::MAX_CHARS - ending.len();
    let start: String = device.as_typed().chars().take(room).collect();
    Name::parse(&format!("{}{ending}", start.trim_end())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_named_like_a_numbered_one_keeps_its_name() {
        let name = |text: &str| Name::parse(text).unwrap();
        let (kodi, second) = (name("Kodi"), name("kodi (2)"));
        let mut devices = DeviceNames::default();
        devices.take(1, ["kodi".to_owned()]);
        let keys = [(10, 1, &kodi), (11, 1, &second), (12, 1, &kodi), (13, 2, &kodi)];
        let assigned = devices.assign(keys.into_iter());
        let typed = [10, 11, 12, 13].map(|row| assigned[&row].as_typed());
        assert_eq!(typed, ["Kodi (3)", "kodi (2)", "Kodi (4)", "Kodi"]);
    }

    #[test]
    fn a_numbered_name_stays_within_the_limit() {
        let long = Name::parse(&"ü".repeat(255)).unwrap();
        let numbered = with_number(&long, 12).unwrap();
        assert_eq!(numbered.as_typed().chars().count(), 255);
        assert!(numbered.as_typed().ends_with("ü (12)"));
    }
}
