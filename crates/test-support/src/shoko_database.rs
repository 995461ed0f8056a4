//! Databases of several Shoko versions, filled with the rows of a test.

use std::path::{Path, PathBuf};

use diesel::connection::SimpleConnection;
use diesel::{Connection, SqliteConnection};
use sha2::{Digest, Sha512};

/// A Shoko version. Each of these versions has different tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShokoVersion {
    V4_2,
    V5_3,
    V6_0,
}

impl ShokoVersion {
    pub const ALL: [Self; 3] = [Self::V4_2, Self::V5_3, Self::V6_0];

    fn tables(self) -> String {
        let (user, key) = match self {
            Self::V4_2 => (", IsTraktUser INTEGER NOT NULL", ""),
            Self::V5_3 => (
                ", IsTraktUser INTEGER NOT NULL, AvatarImageBlob BLOB NULL, AvatarImageMetadata VARCHAR(128) NULL",
                "",
            ),
            Self::V6_0 => ("", ", ExpiresAt DATETIME NULL"),
        };
        format!(
            "CREATE TABLE Versions (VersionsID INTEGER PRIMARY KEY AUTOINCREMENT, VersionType TEXT, VersionValue TEXT);
             CREATE TABLE JMMUser (JMMUserID INTEGER PRIMARY KEY AUTOINCREMENT, Username TEXT NULL, Password TEXT NULL,
                 IsAdmin INTEGER NOT NULL, IsAniDBUser INTEGER NOT NULL, HideCategories TEXT,
                 CanEditServerSettings INTEGER NULL, PlexUsers TEXT NULL, PlexToken TEXT NULL{user});
             CREATE TABLE AuthTokens (AuthID INTEGER PRIMARY KEY AUTOINCREMENT, UserID INTEGER NOT NULL,
                 DeviceName TEXT NOT NULL, Token TEXT NOT NULL{key});"
        )
    }
}

/// An SQLite file with Shoko's tables.
pub struct ShokoDatabase {
    pub file: PathBuf,
    generation: ShokoVersion,
    connection: SqliteConnection,
}

impl ShokoDatabase {
    pub fn create(folder: &Path, generation: ShokoVersion) -> Self {
        let name = if generation == ShokoVersion::V6_0 {
            "Shoko.db3"
        } else {
            "JMMServer.db3"
        };
        let file = folder.join(name);
        let connection = SqliteConnection::establish(&file.to_string_lossy()).unwrap();
        let mut database = Self {
            file,
            generation,
            connection,
        };
        database.execute(&generation.tables());
        database
    }

    pub fn execute(&mut self, sql: &str) {
        self.connection.batch_execute(sql).expect(sql);
    }

    /// Inserts a row into `JMMUser`. `None` is NULL.
    pub fn user(&mut self, id: i64, name: Option<&str>, password: Option<&str>, is_admin: bool) {
        let trakt = if self.generation == ShokoVersion::V6_0 {
            ("", "")
        } else {
            (", IsTraktUser", ", 0")
        };
        self.execute(&format!(
            "INSERT INTO JMMUser (JMMUserID, Username, Password, IsAdmin, IsAniDBUser{}) VALUES ({id}, {}, {}, {}, 1{})",
            trakt.0,
            literal(name),
            literal(password),
            i32::from(is_admin),
            trakt.1
        ));
    }

    /// Sets the avatar of a user, which Shoko 5.3 has. `metadata` is JSON.
    pub fn avatar(&mut self, user: i64, image: &[u8], metadata: &str) {
        let hex = image
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"));
        self.execute(&format!(
            "UPDATE JMMUser SET AvatarImageBlob = X'{hex}', AvatarImageMetadata = {} WHERE JMMUserID = {user}",
            literal(Some(metadata))
        ));
    }

    /// Inserts a row into `AuthTokens`.
    pub fn key(&mut self, id: i64, user: i64, device: &str, token: &str) {
        let (device, token) = (literal(Some(device)), literal(Some(token)));
        self.execute(&format!(
            "INSERT INTO AuthTokens (AuthID, UserID, DeviceName, Token) VALUES ({id}, {user}, {device}, {token})"
        ));
    }

    /// Inserts a row with an expiry time into `AuthTokens`. `expires_at` is in local time. Only Shoko 6.0 has the
    /// column `ExpiresAt`.
    pub fn expiring_key(&mut self, id: i64, user: i64, device: &str, token: &str, expires_at: &str) {
        self.key(id, user, device, token);
        self.execute(&format!(
            "UPDATE AuthTokens SET ExpiresAt = '{expires_at}' WHERE AuthID = {id}"
        ));
    }
}

fn literal(text: Option<&str>) -> String {
    text.map_or("NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")))
}

/// Returns the hash that Shoko stores for a password.
pub fn sha512(password: &str) -> String {
    let digest = Sha512::digest(password);
    digest
        .iter()
        .fold(String::new(), |hex, byte| hex + &format!("{byte:02X}"))
}

/// Returns a key whose first group is `number` in hex.
pub fn key(number: u32) -> String {
    format!("{number:08x}-1f6b-4a0e-8c7d-64a2b1e0f933")
}
