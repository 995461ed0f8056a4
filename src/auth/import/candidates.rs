//! Converts Shoko's rows to users and keys of this service, as far as possible. Does not read this service's
//! database.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDateTime};
use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::report::{ImportReport, RowOutcome, RowReport, Table};
use super::shoko_database::{ShokoDatabase, ShokoKey, ShokoUser};
use crate::model::{Avatar, Name, NewName, ProfileChange, without_invisible};
use crate::secret::key::Key;
use crate::secret::password::ShokoHash;

/// The maximum length of an imported avatar's data URL in bytes. The API has the same limit.
const MAX_AVATAR_BYTES: usize = 2 * 1024 * 1024;
/// The name given to a device that has no name in Shoko.
const UNNAMED_DEVICE: &str = "unnamed device";
/// The last day that .NET can represent. In Shoko, it means that a key never expires.
const NEVER: &[u8] = b"9999-12-31";

/// A user that can be imported.
pub struct CandidateUser {
    /// `JMMUserID`.
    pub row: i64,
    pub name: NewName,
    /// The name with its invisible characters, if it has any. Older versions imported users with such names.
    pub old_name: Option<Name>,
    /// Whether the import has changed the name. If so, another user may already have the changed name.
    pub is_renamed: bool,
    pub is_admin: bool,
    /// `None` for a user that cannot log in until a password is set.
    pub password: Option<ShokoHash>,
    pub profile: ProfileChange,
    pub remarks: Vec<String>,
}

/// A key that can be imported if its user can.
pub struct CandidateKey {
    /// `AuthID`.
    pub row: i64,
    /// The user's `JMMUserID`.
    pub user_row: i64,
    pub device: Name,
    pub key: Key,
    pub expires_at: Option<NaiveDateTime>,
    pub remarks: Vec<String>,
}

/// The rows of a Shoko database that can be imported.
pub struct ImportCandidates {
    pub users: Vec<CandidateUser>,
    pub keys: Vec<CandidateKey>,
}

impl ImportCandidates {
    /// Converts the rows, and reports those that are skipped.
    pub fn new(data: &ShokoDatabase, now: NaiveDateTime, report: &mut ImportReport) -> Self {
        let mut skip = |table, row, name: Option<&[u8]>, why: String| {
            report.add(RowReport {
                table,
                row,
                name: cleaned(name.unwrap_or_default())
                    .chars()
                    .take(Name::MAX_CHARS)
                    .collect(),
                outcome: RowOutcome::Skipped,
                remarks: vec![why],
            });
        };
        let mut users = Vec::new();
        for user in &data.users {
            match convert_user(user) {
                Some(candidate) => users.push(candidate),
                None => skip(Table::Users, user.id, user.name.as_deref(), "it has no name".to_owned()),
            }
        }
        let represented: HashSet<i64> = users.iter().map(|user| user.row).collect();
        let mut first_rows = HashMap::new();
        let mut keys = Vec::new();
        for key in &data.keys {
            let user = key.user_id.filter(|user| represented.contains(user));
            let candidate = user
                .ok_or("there is no user with its UserID, or that user is skipped")
                .and_then(|user| convert_key(key, user, now))
                .map_err(ToOwned::to_owned);
            let candidate = candidate.and_then(|candidate| match first_rows.entry(candidate.key.hash()) {
                Entry::Occupied(first) => Err(format!("it is the same key as in row {}", first.get())),
                Entry::Vacant(entry) => {
                    entry.insert(key.id);
                    Ok(candidate)
                }
            });
            match candidate {
                Ok(candidate) => keys.push(candidate),
                Err(why) => skip(Table::Keys, key.id, key.device.as_deref(), why),
            }
        }
        Self { users, keys }
    }

    /// Returns the `JMMUserID` of each user with a key that never expires.
    pub fn users_with_lasting_keys(&self) -> HashSet<i64> {
        let lasting = self.keys.iter().filter(|key| key.expires_at.is_none());
        lasting.map(|key| key.user_row).collect()
    }
}

/// Returns `None` if the user has no name.
fn convert_user(user: &ShokoUser) -> Option<CandidateUser> {
    let mut remarks = Vec::new();
    let old_name = read_name(user.name.as_deref()?, &mut remarks)?;
    let name = new_name(&old_name, &mut remarks)?;
    let old_name = (old_name != *name).then_some(old_name);
    let is_renamed = !remarks.is_empty();
    let stored = user.password.as_deref().unwrap_or_default();
    let password = str::from_utf8(stored).ok().and_then(ShokoHash::parse);
    if password.is_none() {
        let why = if stored.is_empty() {
            "there is no password"
        } else {
            "the password is not one of Shoko's hashes"
        };
        remarks.push(format!(
            "{why}: the keys work, but the user cannot log in until a password is set"
        ));
    }
    let avatar = read_avatar(user).unwrap_or_else(|why| {
        remarks.push(format!("the avatar is skipped: {why}"));
        None
    });
    let flags = [(user.is_anidb_user, "AniDB"), (user.is_trakt_user, "Trakt")];
    let sites = flags.into_iter().filter(|(flag, _)| *flag == 1).map(|(_, site)| site);
    let profile = ProfileChange {
        community_sites: Some(sites.collect::<serde_json::Value>().to_string()),
        restricted_tags: None,
        avatar,
        plex_usernames: user.plex_users.as_deref().map(cleaned),
    };
    Some(CandidateUser {
        row: user.id,
        name,
        old_name,
        is_renamed,
        is_admin: user.is_admin == 1,
        password,
        profile,
        remarks,
    })
}

fn convert_key(row: &ShokoKey, user_row: i64, now: NaiveDateTime) -> Result<CandidateKey, &'static str> {
    let mut remarks = Vec::new();
    let token = row.token.as_deref().and_then(|token| str::from_utf8(token).ok());
    let key = token.and_then(Key::parse).ok_or("the key is not a GUID")?;
    let device = row.device.as_deref().and_then(|name| read_name(name, &mut remarks));
    let device = device.unwrap_or_else(|| {
        remarks.push(format!("the device has no name: it is named '{UNNAMED_DEVICE}'"));
        Name::parse(UNNAMED_DEVICE).expect("it is neither blank nor too long")
    });
    let expires_at = match row.expires_at.as_deref() {
        None => None,
        Some(text) if text.starts_with(NEVER) => None,
        Some(text) => Some(read_local_time(text).ok_or("its expiry cannot be parsed")?),
    };
    if expires_at.is_some_and(|time| time <= now) {
        return Err("it has expired");
    }
    Ok(CandidateKey {
        row: row.id,
        user_row,
        device,
        key,
        expires_at,
        remarks,
    })
}

/// Makes a name valid and adds remarks about what was changed. Returns `None` if no text is left.
fn read_name(bytes: &[u8], remarks: &mut Vec<String>) -> Option<Name> {
    let clean = cleaned(bytes);
    if clean.as_bytes() != bytes {
        remarks.push("characters that are not allowed in a name are replaced".to_owned());
    }
    let mut name = clean.trim();
    if let Some((end, _)) = name.char_indices().nth(Name::MAX_CHARS) {
        name = name[..end].trim_end();
        remarks.push(format!("the name is cut to {} characters", Name::MAX_CHARS));
    }
    Name::parse(name).ok()
}

/// Replaces invisible characters with spaces. Returns `None` if no text is left.
fn new_name(name: &Name, remarks: &mut Vec<String>) -> Option<NewName> {
    let visible = without_invisible(name.as_typed());
    if visible != name.as_typed() {
        remarks.push("invisible characters in the name are replaced".to_owned());
    }
    NewName::parse(&visible).ok()
}

/// Decodes text. Replaces invalid UTF-8 with U+FFFD and control characters with spaces.
fn cleaned(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Returns the avatar as a data URL.
fn read_avatar(user: &ShokoUser) -> Result<Option<Avatar>, &'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Metadata {
        content_type: String,
    }
    let (image, metadata) = match (user.avatar.as_deref(), user.avatar_metadata.as_deref()) {
        (None, _) if user.avatar_bytes > 0 => return Err("it is too large"),
        (Some(image), Some(metadata)) if !image.is_empty() && !metadata.is_empty() => (image, metadata),
        _ => return Ok(None),
    };
    let metadata: Metadata =
        serde_json::from_slice(metadata).map_err(|_| "its AvatarImageMetadata cannot be parsed")?;
    let url = format!("data:{};base64,{}", metadata.content_type, STANDARD.encode(image));
    if url.len() > MAX_AVATAR_BYTES {
        return Err("it is too large");
    }
    let avatar = Avatar::parse(url).map_err(|_| "it is not a PNG, JPEG, WebP or GIF image")?;
    Ok(Some(avatar))
}

/// Parses one of Shoko's times and converts it to UTC. A time without an offset is in the local time of this machine,
/// which is assumed to be the local time of Shoko's machine.
fn read_local_time(bytes: &[u8]) -> Option<NaiveDateTime> {
    let text = str::from_utf8(bytes).ok()?.trim();
    let local = |text: &str| text.parse::<civil::DateTime>()?.to_zoned(TimeZone::system());
    let time = text.parse().or_else(|_| local(text).map(|time| time.timestamp()));
    let time: Timestamp = time.ok()?;
    DateTime::from_timestamp_micros(time.as_microsecond()).map(|time| time.naive_utc())
}
