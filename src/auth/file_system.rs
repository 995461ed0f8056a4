//! Detects file systems on which SQLite is not safe.
//!
//! SQLite's write-ahead log needs memory that all processes share, and locks that work. A network file system offers
//! neither between machines: <https://sqlite.org/wal.html#noshm>. File systems that a virtual machine shares with its host
//! often lack them too.

use std::io;
use std::path::{Path, PathBuf};

/// The reason why a database cannot be created in a folder. The message is for the operator.
#[derive(Debug, thiserror::Error)]
pub enum FileSystemError {
    #[error(
        "{database}: the folder is on a network file system ({name}), where an SQLite database can be damaged. Use a \
         local disk, or PostgreSQL. To create the database anyway, set SHOKO_AUTH_NETWORK_FILE_SYSTEM=on."
    )]
    Network { database: PathBuf, name: &'static str },
}

/// A file system on which SQLite is not safe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unsafe {
    Network(&'static str),
    /// A file system that a virtual machine shares with its host, as in desktop container products, or that a program
    /// serves.
    Shared(&'static str),
}

/// The magic numbers of `statfs(2)`. virtiofs has that of FUSE.
const UNSAFE: [(u32, Unsafe); 7] = [
    (0x6969, Unsafe::Network("NFS")),
    (0x517b, Unsafe::Network("SMB")),
    (0xff53_4d42, Unsafe::Network("SMB")),
    (0xfe53_4d42, Unsafe::Network("SMB")),
    (0x0102_1997, Unsafe::Shared("9p")),
    (0x6573_5546, Unsafe::Shared("FUSE or virtiofs")),
    (0x786f_4256, Unsafe::Shared("vboxsf")),
];

/// Checks the file system of a database, which need not exist. Warns if SQLite is not safe there. Fails if the database
/// is new and on a network file system, unless `is_allowed`.
pub fn check_file_system(database: &Path, is_allowed: bool) -> Result<(), FileSystemError> {
    let folder = match database.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match magic(folder) {
        Ok(magic) => judge(magic, database, is_allowed),
        Err(error) => {
            log::warn!(
                "{}: reading the kind of the file system failed: {error}",
                folder.display()
            );
            Ok(())
        }
    }
}

fn judge(magic: Option<u32>, database: &Path, is_allowed: bool) -> Result<(), FileSystemError> {
    let found = UNSAFE.iter().find(|(known, _)| magic == Some(*known));
    match found.map(|(_, file_system)| *file_system) {
        None => {}
        Some(Unsafe::Network(name)) => {
            if !is_allowed && !database.exists() {
                let database = database.to_owned();
                return Err(FileSystemError::Network { database, name });
            }
            log::warn!(
                "the database is on a network file system ({name}), where it can be damaged: move it to a local disk, or \
                 use PostgreSQL"
            );
        }
        Some(Unsafe::Shared(name)) => log::warn!(
            "the database is on a file system that may be shared with another machine ({name}), where it can be damaged: \
             prefer a local disk or a named volume"
        ),
    }
    Ok(())
}

/// Returns the magic number of a folder's file system.
#[cfg(target_os = "linux")]
fn magic(folder: &Path) -> io::Result<Option<u32>> {
    let number = rustix::fs::statfs(folder)?.f_type;
    // The type of the number differs between processors. All magic numbers have 32 bits.
    Ok(u32::try_from(number & 0xffff_ffff).ok())
}

/// Returns `None`: other systems have no such numbers.
#[cfg(not(target_os = "linux"))]
fn magic(_: &Path) -> io::Result<Option<u32>> {
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_database_is_rejected_on_network_file_systems_unless_it_is_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("new.db");
        for (number, name) in [
            (0x6969, "NFS"),
            (0x517b, "SMB"),
            (0xff53_4d42, "SMB"),
            (0xfe53_4d42, "SMB"),
        ] {
            let error = judge(Some(number), &database, false).unwrap_err();
            assert!(error.to_string().contains(name), "{error}");
            assert!(judge(Some(number), &database, true).is_ok());
        }
        std::fs::write(&database, "").unwrap();
        assert!(
            judge(Some(0x6969), &database, false).is_ok(),
            "an existing database only causes a warning"
        );
    }

    #[test]
    fn other_file_systems_are_accepted() {
        let database = Path::new("/nowhere/new.db");
        // 9p, FUSE, ext4, tmpfs, and an unknown one.
        for number in [0x0102_1997, 0x6573_5546, 0xef53, 0x0102_1994, 1] {
            assert!(judge(Some(number), database, false).is_ok());
        }
        assert!(judge(None, database, false).is_ok());
        assert!(check_file_system(&std::env::temp_dir().join("new.db"), false).is_ok());
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_magic_number_is_that_of_the_system() {
        assert_eq!(magic(Path::new("/proc")).unwrap(), Some(0x9fa0));
    }
}
