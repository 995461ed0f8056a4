//! Names that meet: users with users, devices with devices.

use std::collections::{HashMap, HashSet};

use super::rows::NewcomerUser;
use crate::model::{Name, User, fold};

/// What becomes of a user of Shoko's.
pub enum Fate {
    /// He is added.
    Add,
    /// His keys go to this user, who is here and has the same name.
    MergeInto(User),
    /// They go to the user of this row, who is added before, because he has the same name and came first.
    MergeIntoRow(i64),
    /// He is left out: why.
    Skip(String),
}

/// What becomes of each; and who makes room for them: the administrator of the first start whom nobody has ever been,
/// when they bring one of their own.
pub fn fates(users: &[NewcomerUser], here: &[User]) -> (Vec<Fate>, Option<User>) {
    if let Some(automatic) = here.iter().find(|user| user.is_automatic) {
        let fates = fates_among(users, here.iter().filter(|user| user.id != automatic.id));
        let mut pairs = users.iter().zip(&fates);
        if pairs.any(|(user, fate)| user.is_admin && matches!(fate, Fate::Add)) {
            return (fates, Some(automatic.clone()));
        }
    }
    (fates_among(users, here.iter()), None)
}

fn fates_among<'a>(users: &[NewcomerUser], here: impl Iterator<Item = &'a User> + Clone) -> Vec<Fate> {
    let names: HashMap<String, &User> = here.clone().map(|user| (fold(&user.name), user)).collect();
    let emails = here.filter_map(|user| Some((fold(user.email.as_deref()?), user.id)));
    let emails: HashMap<String, i32> = emails.collect();
    let mut first: HashMap<&str, i64> = HashMap::new();
    // Whose name it is in Shoko comes before whose it becomes.
    for user in users.iter().filter(|user| !user.is_renamed).chain(users) {
        first.entry(user.name.folded()).or_insert(user.row);
    }
    let fate = |user: &NewcomerUser| {
        let name = user.name.folded();
        let row = first[name];
        match (names.get(name), emails.get(name)) {
            (Some(here), _) if user.is_renamed && here.is_admin && !user.is_admin => Fate::Skip(format!(
                "the name, as it can be here, is that of an administrator (id {}): change it, and import again",
                here.id
            )),
            (Some(here), _) => Fate::MergeInto((*here).clone()),
            (None, Some(id)) => Fate::Skip(format!(
                "the name is the e-mail address of the user with the id {id} here: change one of them, and import again"
            )),
            (None, None) if row == user.row => Fate::Add,
            (None, None) if user.is_renamed => Fate::Skip(format!(
                "the name, as it can be here, is that of row {row}: change it, and import again"
            )),
            (None, None) => Fate::MergeIntoRow(row),
        }
    };
    users.iter().map(fate).collect()
}

/// Which names the users' lasting keys have: there is one key a device.
#[derive(Default)]
pub struct DeviceNames(HashMap<i32, HashSet<String>>);

impl DeviceNames {
    /// These folded names are in use.
    pub fn take(&mut self, user_id: i32, names: impl IntoIterator<Item = String>) {
        self.0.entry(user_id).or_default().extend(names);
    }

    /// The names of keys that are (row, user, device), by row: the first key of a device has its name, unless that is
    /// in use; the others are `NAME (2)`, `NAME (3)` and so on.
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

    /// Whether the name was free; now it is in use.
    fn was_free(&mut self, user_id: i32, device: &Name) -> bool {
        let names = self.0.entry(user_id).or_default();
        names.insert(device.folded().to_owned())
    }
}

/// `NAME (2)`, of a name that may have to be cut for it.
fn with_number(device: &Name, number: u64) -> Option<Name> {
    let ending = format!(" ({number})");
    let room = Name::MAX_CHARS - ending.len();
    let start: String = device.shown().chars().take(room).collect();
    Name::parse(&format!("{}{ending}", start.trim_end())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_that_is_called_like_a_numbered_one_keeps_its_name() {
        let name = |text: &str| Name::parse(text).unwrap();
        let (kodi, second) = (name("Kodi"), name("kodi (2)"));
        let mut devices = DeviceNames::default();
        devices.take(1, ["kodi".to_owned()]);
        let keys = [(10, 1, &kodi), (11, 1, &second), (12, 1, &kodi), (13, 2, &kodi)];
        let assigned = devices.assign(keys.into_iter());
        let shown = [10, 11, 12, 13].map(|row| assigned[&row].shown());
        assert_eq!(shown, ["Kodi (3)", "kodi (2)", "Kodi (4)", "Kodi"]);
    }

    #[test]
    fn a_numbered_name_is_not_too_long() {
        let long = Name::parse(&"ü".repeat(255)).unwrap();
        let numbered = with_number(&long, 12).unwrap();
        assert_eq!(numbered.shown().chars().count(), 255);
        assert!(numbered.shown().ends_with("ü (12)"));
    }
}
