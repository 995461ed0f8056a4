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

/// What happens to the automatic administrator, if it exists and is unused.
pub enum AutomaticAdmin {
    /// There is none, or the import adds no administrator.
    Unaffected,
    /// The import must remove it, because it adds another administrator.
    Replaced(User),
    /// The import keeps it, because no administrator that it would add can authenticate.
    Kept(User),
}

/// Decides about each user, and about the automatic administrator. `users_with_lasting_keys` has the
/// `JMMUserID` of each user with a key that never expires.
pub fn decide(
    users: &[CandidateUser],
    users_with_lasting_keys: &HashSet<i64>,
    here: &[User],
) -> (Vec<MergeDecision>, AutomaticAdmin) {
    let Some(automatic) = here.iter().find(|user| user.is_automatic) else {
        return (decide_among(users, here.iter()), AutomaticAdmin::Unaffected);
    };
    let decisions = decide_among(users, here.iter().filter(|user| user.id != automatic.id));
    let admins = || {
        let pairs = users.iter().zip(&decisions);
        pairs.filter(|(user, decision)| user.is_admin && matches!(decision, MergeDecision::Add))
    };
    if admins().any(|(user, _)| user.password.is_some() || users_with_lasting_keys.contains(&user.row)) {
        return (decisions, AutomaticAdmin::Replaced(automatic.clone()));
    }
    let automatic = match admins().next() {
        Some(_) => AutomaticAdmin::Kept(automatic.clone()),
        None => AutomaticAdmin::Unaffected,
    };
    (decide_among(users, here.iter()), automatic)
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
pub struct DeviceNames {
    /// The normalized names in use, by user.
    used: HashMap<i32, HashSet<String>>,
    /// The lowest number that may be free, by user, by number of digits, and by the normalized text before the number.
    /// Without it, the search for each of many keys of one device would start again.
    next: HashMap<(i32, u32, String), u64>,
}

impl DeviceNames {
    /// Marks these normalized names as in use.
    pub fn take(&mut self, user_id: i32, names: impl IntoIterator<Item = String>) {
        self.used.entry(user_id).or_default().extend(names);
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
            assigned.extend(self.take_numbered(user_id, device).map(|name| (row, name)));
        }
        assigned
    }

    /// Marks the name with the lowest free number as in use, and returns it.
    fn take_numbered(&mut self, user_id: i32, device: &Name) -> Option<Name> {
        let mut first = 2;
        for digits in 1..u64::MAX.ilog10() {
            let end = 10_u64.pow(digits);
            let start = start_for(device, digits);
            let key = (user_id, digits, normalize(&start));
            let next = self.next.get(&key).copied().unwrap_or(first);
            let mut numbered = (next..end).filter_map(|number| Some((number, with_number(&start, number)?)));
            let free = numbered.find(|(_, name)| self.was_free(user_id, name));
            self.next
                .insert(key, free.as_ref().map_or(end, |(number, _)| number + 1));
            if let Some((_, name)) = free {
                return Some(name);
            }
            first = end;
        }
        None
    }

    /// Marks a name as in use and returns whether it was free.
    fn was_free(&mut self, user_id: i32, device: &Name) -> bool {
        let names = self.used.entry(user_id).or_default();
        names.insert(device.normalized().to_owned())
    }
}

/// Returns the text before the number of a numbered name. It is shortened if a number with so many digits would make the
/// name longer than [`Name::MAX_CHARS`].
fn start_for(device: &Name, digits: u32) -> String {
    let brackets = " ()".len();
    let room = Name::MAX_CHARS - brackets - digits as usize;
    let start: String = device.as_typed().chars().take(room).collect();
    start.trim_end().to_owned()
}

fn with_number(start: &str, number: u64) -> Option<Name> {
    Name::parse(&format!("{start} ({number})")).ok()
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
    fn many_keys_of_one_device_are_named_in_linear_time() {
        // Names that differ only in their last characters become equal when they are shortened for a number.
        let long = |number: u32| Name::parse(&format!("{}{number:06}", "n".repeat(249))).unwrap();
        let names: Vec<Name> = (0..5_000).map(|number| long(number % 2_500)).collect();
        let kodi = Name::parse("Kodi").unwrap();
        let devices = std::iter::repeat_n(&kodi, 20_000).chain(&names);
        let start = std::time::Instant::now();
        let assigned = DeviceNames::default().assign((0..).zip(devices).map(|(row, device)| (row, 1, device)));
        // Without the remembered numbers, this takes more than 200 million attempts.
        assert!(start.elapsed().as_secs() < 20, "{:?}", start.elapsed());
        assert_eq!(assigned.len(), 25_000);
        assert_eq!(assigned[&19_999].as_typed(), "Kodi (20000)");
        let distinct: HashSet<&str> = assigned.values().map(Name::normalized).collect();
        assert_eq!(distinct.len(), assigned.len());
    }

    #[test]
    fn a_numbered_name_stays_within_the_limit() {
        let long = Name::parse(&"ü".repeat(255)).unwrap();
        let numbered = with_number(&start_for(&long, 2), 12).unwrap();
        assert_eq!(numbered.as_typed().chars().count(), 255);
        assert!(numbered.as_typed().ends_with("ü (12)"));
    }
}
