//! Shoko's rows as users and keys of this service, as far as they can be that. Only Shoko's database is asked here.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, NaiveDateTime};
use jiff::Timestamp;
use jiff::civil;
use jiff::tz::TimeZone;
use serde::Deserialize;

use super::report::{Done, ImportReport, RowReport, Table};
use crate::model::{Name, ProfileChange};
use crate::secret::key::Key;
use crate::secret::password::ShokoHash;
use crate::store::{ShokoData, ShokoKey, ShokoUser};

/// The longest avatar that is taken, in bytes of its data URL: what the API takes at most.
const MAX_AVATAR_BYTES: usize = 2 * 1024 * 1024;
/// For a key whose device has no name in Shoko.
const UNNAMED: &str = "unnamed device";
/// The last day that .NET knows, with whatever time.
const NEVER: &[u8] = b"9999-12-31";

/// A user who can be one here.
pub struct NewcomerUser {
    /// `JMMUserID`.
    pub row: i64,
    pub name: Name,
    /// Whether the name is another one in Shoko, and so maybe somebody else's here.
    pub is_renamed: bool,
    pub is_admin: bool,
    /// `None`: cannot log in.
    pub password: Option<ShokoHash>,
    pub profile: ProfileChange,
    pub remarks: Vec<String>,
}

/// A key that can be one here, if its user can.
pub struct NewcomerKey {
    /// `AuthID`.
    pub row: i64,
    /// The user's `JMMUserID`.
    pub user_row: i64,
    pub device: Name,
    pub key: Key,
    pub expires_at: Option<NaiveDateTime>,
    pub remarks: Vec<String>,
}

/// What of a Shoko database can be represented here.
pub struct Newcomers {
    pub users: Vec<NewcomerUser>,
    pub keys: Vec<NewcomerKey>,
}

impl Newcomers {
    /// Reports what is left out.
    pub fn of(data: &ShokoData, now: NaiveDateTime, report: &mut ImportReport) -> Self {
        let mut skip = |table, row, name: Option<&[u8]>, why: String| {
            report.add(RowReport {
                table,
                row,
                name: cleaned(name.unwrap_or_default())
                    .chars()
                    .take(Name::MAX_CHARS)
                    .collect(),
                done: Done::Skipped,
                remarks: vec![why],
            });
        };
        let mut users = Vec::new();
        for user in &data.users {
            match newcomer_user(user) {
                Some(newcomer) => users.push(newcomer),
                None => skip(Table::Users, user.id, user.name.as_deref(), "it has no name".to_owned()),
            }
        }
        let represented: HashSet<i64> = users.iter().map(|user| user.row).collect();
        let mut first_rows = HashMap::new();
        let mut keys = Vec::new();
        for key in &data.keys {
            let user = key.user_id.filter(|user| represented.contains(user));
            let newcomer = user
                .ok_or("there is no user with its UserID, or the user is left out")
                .and_then(|user| newcomer_key(key, user, now))
                .map_err(ToOwned::to_owned);
            let newcomer = newcomer.and_then(|newcomer| match first_rows.entry(newcomer.key.hash()) {
                Entry::Occupied(first) => Err(format!("it is the same key as in row {}", first.get())),
                Entry::Vacant(place) => {
                    place.insert(key.id);
                    Ok(newcomer)
                }
            });
            match newcomer {
                Ok(newcomer) => keys.push(newcomer),
                Err(why) => skip(Table::Keys, key.id, key.device.as_deref(), why),
            }
        }
        Self { users, keys }
    }
}

/// `None`: there is no name.
fn newcomer_user(user: &ShokoUser) -> Option<NewcomerUser> {
    let mut remarks = Vec::new();
    let name = read_name(user.name.as_deref()?, &mut remarks)?;
    let is_renamed = !remarks.is_empty();
    let kept = user.password.as_deref().unwrap_or_default();
    let password = str::from_utf8(kept).ok().and_then(ShokoHash::parse);
    if password.is_none() {
        let why = if kept.is_empty() {
            "there is no password"
        } else {
            "the password is no hash of Shoko's"
        };
        remarks.push(format!(
            "{why}: the keys work, but nobody can log in until a password is set"
        ));
    }
    let avatar = read_avatar(user).unwrap_or_else(|why| {
        remarks.push(format!("the avatar is left out: {why}"));
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
    Some(NewcomerUser {
        row: user.id,
        name,
        is_renamed,
        is_admin: user.is_admin == 1,
        password,
        profile,
        remarks,
    })
}

fn newcomer_key(row: &ShokoKey, user_row: i64, now: NaiveDateTime) -> Result<NewcomerKey, &'static str> {
    let mut remarks = Vec::new();
    let token = row.token.as_deref().and_then(|token| str::from_utf8(token).ok());
    let key = token.and_then(Key::parse).ok_or("the key is no GUID")?;
    let device = row.device.as_deref().and_then(|name| read_name(name, &mut remarks));
    let device = device.unwrap_or_else(|| {
        remarks.push(format!("the device has no name: it is '{UNNAMED}' now"));
        Name::parse(UNNAMED).expect("it is neither blank nor too long")
    });
    let expires_at = match row.expires_at.as_deref() {
        None => None,
        Some(text) if text.starts_with(NEVER) => None,
        Some(text) => Some(read_local_time(text).ok_or("the time at which it expires cannot be read")?),
    };
    if expires_at.is_some_and(|time| time <= now) {
        return Err("it has expired");
    }
    Ok(NewcomerKey {
        row: row.id,
        user_row,
        device,
        key,
        expires_at,
        remarks,
    })
}

/// A name as it can be one here; `None`: nothing is left of it.
fn read_name(bytes: &[u8], remarks: &mut Vec<String>) -> Option<Name> {
    let clean = cleaned(bytes);
    if clean.as_bytes() != bytes {
        remarks.push("what cannot stand in a name is replaced in it".to_owned());
    }
    let mut name = clean.trim();
    if let Some((end, _)) = name.char_indices().nth(Name::MAX_CHARS) {
        name = name[..end].trim_end();
        remarks.push(format!("the name is cut to {} characters", Name::MAX_CHARS));
    }
    Name::parse(name).ok()
}

/// A name with blanks for control characters.
fn cleaned(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The avatar as a data URL.
fn read_avatar(user: &ShokoUser) -> Result<Option<String>, &'static str> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Metadata {
        content_type: String,
    }
    let (image, metadata) = match (user.avatar.as_deref(), user.avatar_metadata.as_deref()) {
        (Some(image), Some(metadata)) if !image.is_empty() && !metadata.is_empty() => (image, metadata),
        _ => return Ok(None),
    };
    let metadata: Metadata = serde_json::from_slice(metadata).map_err(|_| "its AvatarImageMetadata cannot be read")?;
    let kind = metadata.content_type;
    let is_image = kind.starts_with("image/") && kind.chars().all(|c| c.is_ascii_alphanumeric() || "/+.-".contains(c));
    if !is_image {
        return Err("it is no image");
    }
    let url = format!("data:{kind};base64,{}", STANDARD.encode(image));
    if url.len() > MAX_AVATAR_BYTES {
        return Err("it is too large");
    }
    Ok(Some(url))
}

/// A time of Shoko's in UTC. It is local where Shoko runs, for which here is taken, unless it says where.
fn read_local_time(bytes: &[u8]) -> Option<NaiveDateTime> {
    let text = str::from_utf8(bytes).ok()?.trim();
    let local = |text: &str| text.parse::<civil::DateTime>()?.to_zoned(TimeZone::system());
    let time = text.parse().or_else(|_| local(text).map(|time| time.timestamp()));
    let time: Timestamp = time.ok()?;
    DateTime::from_timestamp_micros(time.as_microsecond()).map(|time| time.naive_utc())
}
